// The trampolines of libraries.cpp, without a GPU and without libattn4j.so. Compiled twice: with -DATTN4J_FAKE=N as a
// library that has functions of its number, and without as the program that calls them through the trampolines.
// trampolines.sh does both.
#include <cstdint>
#include <cstdio>

#include "attn4j/attn4j.h"

namespace attn4j {

#ifdef ATTN4J_FAKE
#define EXPORTED __attribute__((visibility("default")))
#else
#define EXPORTED
#endif

struct Wide {
  int64_t part[4];
};

EXPORTED int32_t which_library() noexcept;
// More arguments than registers of either kind, and a result that the caller makes room for.
EXPORTED Wide many(int64_t a, double b, int64_t c, float d, int64_t e, double f, int64_t g, double h, int64_t i,
                   double j, int64_t k, double l, int64_t m, double n, int64_t o, double p, double q,
                   int64_t r) noexcept;

#ifdef ATTN4J_FAKE
int32_t abi_version() noexcept { return ATTN4J_ABI_VERSION; }
int32_t which_library() noexcept { return ATTN4J_FAKE; }
Wide many(int64_t a, double b, int64_t c, float d, int64_t e, double f, int64_t g, double h, int64_t i, double j,
          int64_t k, double l, int64_t m, double n, int64_t o, double p, double q, int64_t r) noexcept {
  return {{ATTN4J_FAKE, a + 2 * c + 3 * e + 4 * g + 5 * i + 6 * k + 7 * m + 8 * o + 9 * r,
           static_cast<int64_t>(b + 2 * d + 3 * f + 4 * h + 5 * j + 6 * l + 7 * n + 8 * p + 9 * q), a}};
}
#endif

}  // namespace attn4j

#ifndef ATTN4J_FAKE
#include <thread>

#include "libraries.h"

namespace {

bool passed = true;

void expect(int64_t found, int64_t wanted, const char* what) {
  if (found == wanted) return;
  printf("%s: found %lld, wanted %lld\n", what, static_cast<long long>(found), static_cast<long long>(wanted));
  passed = false;
}

void call(int32_t library) {
  expect(attn4j::which_library(), library, "library of a plain call");
  const attn4j::Wide wide = attn4j::many(1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9);
  expect(wide.part[0], library, "library of a call with many arguments");
  expect(wide.part[1], 285, "integers");  // the sum of the squares up to 9
  expect(wide.part[2], 285, "floating point numbers");
  expect(wide.part[3], 1, "the first argument");
}

}  // namespace

int main(int, char** arguments) {
  using namespace attn4j_libraries;
  expect(open_library("/nonexistent"), -1, "a file that isn't there");
  expect(open_library(arguments[1]), 0, "the first library");
  expect(open_library(arguments[2]), 1, "the second library");
  expect(open_library(arguments[1]), 0, "the first library again");
  call(1);
  use_library(1);
  call(2);
  std::thread([] {
    call(1);  // a new thread has chosen none
    use_library(1);
    call(2);
    use_library(0);
  }).join();
  call(2);
  use_library(0);
  call(1);
  if (passed) printf("the trampolines reach both libraries, with all arguments, for each thread\n");
  return passed ? 0 : 1;
}
#endif
