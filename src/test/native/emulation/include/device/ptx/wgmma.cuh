// device/ptx/wgmma.cuh, emulated.
#pragma once

#include <cstdint>

#include "machine.h"

namespace attn4j::ptx {

inline void wgmma_fence() { ::emulation::wgmma_fence(); }
inline void wgmma_commit_group() { ::emulation::wgmma_commit(); }
template <int kPending>
inline void wgmma_wait_group() {
  ::emulation::wgmma_wait(kPending);
}
template <int kCount>
inline void wgmma_pin(float*) {}
template <int kCount>
inline void wgmma_pin(int32_t*) {}

inline uint64_t wgmma_descriptor(uint32_t shared_address, uint32_t leading, uint32_t stride) {
  return static_cast<uint64_t>((shared_address >> 4) & 0x3fff) | static_cast<uint64_t>(leading >> 4) << 16 |
         static_cast<uint64_t>(stride >> 4) << 32;
}
inline uint64_t wgmma_descriptor_swizzle128(uint32_t shared_address, uint32_t leading, uint32_t stride) {
  return wgmma_descriptor(shared_address, leading, stride) | static_cast<uint64_t>(1) << 62;
}

// Registers aren't counted; all threads of a warpgroup must come by.
template <int kCount>
inline void setmaxnreg_inc() {
  static_assert(kCount >= 24 && kCount <= 256 && kCount % 8 == 0);
  void* slots[128];
  ::emulation::meet_warpgroup("setmaxnreg.inc", nullptr, slots);
}
template <int kCount>
inline void setmaxnreg_dec() {
  static_assert(kCount >= 24 && kCount <= 256 && kCount % 8 == 0);
  void* slots[128];
  ::emulation::meet_warpgroup("setmaxnreg.dec", nullptr, slots);
}

// The multiplies of the files that wgmma_generate.py writes, for any N.
template <::emulation::MatrixType kType, class Number, int N>
struct EmulatedWgmma {
  static void run(Number* d, const uint32_t* a_registers, uint64_t a, uint64_t b, bool accumulates, bool transposed) {
    ::emulation::wgmma({kType, N, accumulates, transposed, d, a_registers, a, b});
  }
  template <int kTransB = 0>
  static void ss_first(Number* d, uint64_t a, uint64_t b) {
    run(d, nullptr, a, b, false, kTransB != 0);
  }
  template <int kTransB = 0>
  static void ss(Number* d, uint64_t a, uint64_t b) {
    run(d, nullptr, a, b, true, kTransB != 0);
  }
  template <int kTransB = 0>
  static void rs_first(Number* d, const uint32_t* a, uint64_t b) {
    run(d, a, 0, b, false, kTransB != 0);
  }
  template <int kTransB = 0>
  static void rs(Number* d, const uint32_t* a, uint64_t b) {
    run(d, a, 0, b, true, kTransB != 0);
  }
  static void rs_if(Number* d, const uint32_t* a, uint64_t b, int accumulate) {
    run(d, a, 0, b, accumulate != 0, false);
  }
};

}  // namespace attn4j::ptx
