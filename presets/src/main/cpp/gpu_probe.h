// Asks the NVIDIA driver what is there, without linking to it: the process runs on as usual where there is none.
// Nothing here throws. The driver is opened once, on first use.
#pragma once

#include <dlfcn.h>

#include <cstdint>
#include <cstring>
#include <string>

namespace attn4j_probe {

// Results of status() besides CUDA's own: 0 is ready, a positive number is the CUresult of cuInit.
constexpr int32_t kNoDriver = -1;   // there is no libcuda.so.1
constexpr int32_t kBadDriver = -2;  // there is one, but it lacks the functions that every driver has
constexpr int32_t kNotOpened = -4;  // there is one, but it can't be opened (-3 is the Java side's)

class Driver {
 public:
  static Driver& instance() {
    static Driver driver;
    return driver;
  }

  int32_t status() const { return status_; }

  const char* detail() const { return detail_.c_str(); }

  int32_t version() const {
    int version = 0;
    return driver_get_version_ != nullptr && driver_get_version_(&version) == 0 ? version : 0;
  }

  int32_t device_count() const {
    int count = 0;
    return status_ == 0 && device_get_count_(&count) == 0 ? count : 0;
  }

  int32_t attribute(int32_t ordinal, int32_t attribute) const {
    int device = 0;
    int value = 0;
    const bool ok =
        status_ == 0 && device_get_(&device, ordinal) == 0 && device_get_attribute_(&value, attribute, device) == 0;
    return ok ? value : 0;
  }

  const char* name(int32_t ordinal) const {
    thread_local char name[256];
    int device = 0;
    const bool ok = status_ == 0 && device_get_name_ != nullptr && device_get_(&device, ordinal) == 0 &&
                    device_get_name_(name, sizeof(name), device) == 0;
    return ok ? name : "";
  }

 private:
  Driver() {
    void* library = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (library == nullptr) {
      const char* reason = dlerror();
      // The same words stand for a library that it needs, with that one's name.
      const bool absent = strstr(reason, "libcuda.so.1") != nullptr && strstr(reason, "No such file") != nullptr;
      status_ = absent ? kNoDriver : kNotOpened;
      if (!absent) detail_ = reason;
      return;
    }
    find(library, "cuInit", &init_);
    find(library, "cuDriverGetVersion", &driver_get_version_);
    find(library, "cuDeviceGetCount", &device_get_count_);
    find(library, "cuDeviceGet", &device_get_);
    find(library, "cuDeviceGetAttribute", &device_get_attribute_);
    find(library, "cuDeviceGetName", &device_get_name_);
    const bool complete = init_ != nullptr && driver_get_version_ != nullptr && device_get_count_ != nullptr &&
                          device_get_ != nullptr && device_get_attribute_ != nullptr;
    status_ = complete ? init_(0) : kBadDriver;
  }

  template <typename Function>
  static void find(void* library, const char* symbol, Function** function) {
    *function = reinterpret_cast<Function*>(dlsym(library, symbol));
  }

  int32_t status_ = kNoDriver;
  std::string detail_;
  int (*init_)(unsigned) = nullptr;
  int (*driver_get_version_)(int*) = nullptr;
  int (*device_get_count_)(int*) = nullptr;
  int (*device_get_)(int*, int) = nullptr;
  int (*device_get_attribute_)(int*, int, int) = nullptr;
  int (*device_get_name_)(char*, int, int) = nullptr;
};

inline int32_t status() noexcept { return Driver::instance().status(); }

// The loader's own reason if the status is kNotOpened, else "".
inline const char* status_detail() noexcept { return Driver::instance().detail(); }

// The newest CUDA version that the driver serves, as 1000 * major + 10 * minor, or 0.
inline int32_t driver_version() noexcept { return Driver::instance().version(); }

inline int32_t device_count() noexcept { return Driver::instance().device_count(); }

// 10 * major + minor, or 0.
inline int32_t compute_capability(int32_t ordinal) noexcept {
  constexpr int32_t kMajor = 75;  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
  constexpr int32_t kMinor = 76;
  const Driver& driver = Driver::instance();
  return 10 * driver.attribute(ordinal, kMajor) + driver.attribute(ordinal, kMinor);
}

// "" if the driver doesn't say. Valid until the next call on this thread.
inline const char* device_name(int32_t ordinal) noexcept { return Driver::instance().name(ordinal); }

// "" if a library can be loaded, else the loader's own reason. It stays open, for those who look for it by its name.
// Valid until the next call on this thread.
inline const char* open_failure(const char* path) noexcept {
  thread_local std::string reason;
  reason.clear();
  if (dlopen(path, RTLD_NOW | RTLD_LOCAL) == nullptr) reason = dlerror();
  return reason.c_str();
}

}  // namespace attn4j_probe
