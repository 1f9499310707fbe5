// device/ptx/fp8.cuh, emulated.
#pragma once

#include <cstdint>

#include "matrix.h"

namespace attn4j::ptx {

inline uint32_t pack_e4m3x4(float a, float b, float c, float d) {
  using ::emulation::float_to_e4m3;
  return float_to_e4m3(a) | static_cast<uint32_t>(float_to_e4m3(b)) << 8 |
         static_cast<uint32_t>(float_to_e4m3(c)) << 16 | static_cast<uint32_t>(float_to_e4m3(d)) << 24;
}
inline uint32_t unpack_e4m3x2(uint16_t x) {
  using namespace ::emulation;
  return float_to_f16(e4m3_to_float(x & 0xff)) | static_cast<uint32_t>(float_to_f16(e4m3_to_float(x >> 8))) << 16;
}
inline uint16_t pack_e4m3x2(uint32_t half2) {
  using namespace ::emulation;
  return static_cast<uint16_t>(float_to_e4m3(f16_to_float(half2 & 0xffff)) | float_to_e4m3(f16_to_float(half2 >> 16))
                                                                                 << 8);
}

}  // namespace attn4j::ptx
