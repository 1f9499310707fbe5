// What a test chooses, and how faults are told.
#pragma once

#include <cstdint>
#include <string>

namespace emulation {

constexpr int kFaultStatus = 70;  // exit status of a process whose kernel did something wrong

struct Settings {
  // Of the order in which threads run and copies happen. 0: in order.
  uint64_t seed = 0;
  // CTAs at work at once, each in an OS thread of its own: what CUDA says the GPU has multiprocessors.
  int multiprocessors = 4;
  // Multiprocessors that no CTA finds free, as where another stream's kernels hold them for good: CTAs that wait for
  // such as have not begun are told as a deadlock.
  int busy_multiprocessors = 0;
  // Bits that FP8 wgmma keeps behind the leading one of its largest term; 30 and more: all, as far as fp32 holds them.
  int fp8_bits = 13;
  // Seconds that a thread may look at unchanging memory.
  int patience_s = 30;
};
// To be changed between launches.
Settings& settings();

std::string kernel_name(const void* kernel);

}  // namespace emulation
