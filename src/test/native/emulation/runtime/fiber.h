// A flow of control with a stack of its own that others of the same OS thread switch to.
#pragma once

#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace emulation {

class Fiber {
 public:
  // Makes `entry` what runs at the first switch to this fiber. It must never return.
  void prepare(char* stack, size_t bytes, void (*entry)());
  // Goes on in `to`; returns when somebody switches to `from`.
  static void switch_to(Fiber& from, Fiber& to);

 private:
#if defined(__x86_64__)
  void* stack_pointer_ = nullptr;
#else
  ucontext_t context_;
#endif
};

}  // namespace emulation
