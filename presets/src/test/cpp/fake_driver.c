// A libcuda.so.1 that says what the environment tells it to, for tests of the choice of a library without a GPU:
//   FAKE_CC       compute capabilities of the devices, such as 90 or 90,86
//   FAKE_INIT     what cuInit returns
//   FAKE_VERSION  the CUDA version it serves, such as 13000
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int number(const char* name, int otherwise) {
  const char* text = getenv(name);
  return text != NULL ? atoi(text) : otherwise;
}

// Walks FAKE_CC up to `ordinal`; returns the entry there (0 if there is none) and counts what it passed.
static int capability(int ordinal, int* count) {
  const char* text = getenv("FAKE_CC");
  int seen = 0;
  while (text != NULL && *text != '\0') {
    if (seen == ordinal) return atoi(text);
    ++seen;
    text = strchr(text, ',');
    if (text != NULL) ++text;
  }
  *count = seen;
  return 0;
}

int cuInit(unsigned flags) {
  (void)flags;
  return number("FAKE_INIT", 0);
}

int cuDriverGetVersion(int* version) {
  *version = number("FAKE_VERSION", 13000);
  return 0;
}

int cuDeviceGetCount(int* count) {
  capability(1 << 30, count);
  return 0;
}

int cuDeviceGet(int* device, int ordinal) {
  int unused;
  *device = ordinal;
  return ordinal >= 0 && capability(ordinal, &unused) != 0 ? 0 : 101;
}

int cuDeviceGetAttribute(int* value, int attribute, int device) {
  int unused;
  const int cc = capability(device, &unused);
  *value = attribute == 75 ? cc / 10 : attribute == 76 ? cc % 10 : 0;
  return 0;
}

int cuDeviceGetName(char* name, int size, int device) {
  snprintf(name, (size_t)size, "Fake GPU %d", device);
  return 0;
}
