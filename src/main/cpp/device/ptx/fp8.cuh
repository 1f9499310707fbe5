// e4m3 conversions (sm_89 and later).
#pragma once

#include <cstdint>

namespace attn4j::ptx {

// Four floats to four e4m3, `a` in the lowest byte, saturating. Volatile: where P registers are written again relative
// to the wait for the multiply that read them matters.
__device__ __forceinline__ uint32_t pack_e4m3x4(float a, float b, float c, float d) {
  uint32_t r;
  asm volatile(
      "{.reg .b16 l, h; cvt.rn.satfinite.e4m3x2.f32 l, %2, %1; cvt.rn.satfinite.e4m3x2.f32 h, %4, %3; "
      "mov.b32 %0, {l, h};}"
      : "=r"(r)
      : "f"(a), "f"(b), "f"(c), "f"(d));
  return r;
}

// Two e4m3 to two fp16 (exact) and back (rounded, saturating).
__device__ __forceinline__ uint32_t unpack_e4m3x2(uint16_t x) {
  uint32_t r;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(r) : "h"(x));
  return r;
}
__device__ __forceinline__ uint16_t pack_e4m3x2(uint32_t half2) {
  uint16_t r;
  asm("cvt.rn.satfinite.e4m3x2.f16x2 %0, %1;" : "=h"(r) : "r"(half2));
  return r;
}

}  // namespace attn4j::ptx
