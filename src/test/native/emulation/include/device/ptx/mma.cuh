// device/ptx/mma.cuh, emulated.
#pragma once

#include <cstdint>
#include <cstring>

#include "matrix.h"

namespace attn4j::ptx {

inline void mma_m16n8k32_s8(uint32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                            const uint32_t (&c)[4]) {
  ::emulation::mma_sync(::emulation::MatrixType::kS8, d, a, b0, b1, c);
}

// D += A B with D as numbers, as bits, and D = A B, for each 16-bit type.
#define ATTN4J_EMULATED_MMA(name, type)                                                        \
  inline void name(uint32_t(&d)[4], const uint32_t(&a)[4], uint32_t b0, uint32_t b1) {         \
    const uint32_t c[4] = {d[0], d[1], d[2], d[3]};                                            \
    ::emulation::mma_sync(::emulation::MatrixType::type, d, a, b0, b1, c);                     \
  }                                                                                            \
  inline void name(float(&d)[4], const uint32_t(&a)[4], uint32_t b0, uint32_t b1) {            \
    uint32_t bits[4];                                                                          \
    std::memcpy(bits, d, sizeof bits);                                                         \
    name(bits, a, b0, b1);                                                                     \
    std::memcpy(d, bits, sizeof bits);                                                         \
  }                                                                                            \
  inline void name##_first(uint32_t(&d)[4], const uint32_t(&a)[4], uint32_t b0, uint32_t b1) { \
    const uint32_t zeros[4] = {};                                                              \
    ::emulation::mma_sync(::emulation::MatrixType::type, d, a, b0, b1, zeros);                 \
  }
ATTN4J_EMULATED_MMA(mma_m16n8k16_f16, kF16)
ATTN4J_EMULATED_MMA(mma_m16n8k16_bf16, kBf16)
#undef ATTN4J_EMULATED_MMA

// Accumulators in fp16, and e4m3.
#define ATTN4J_EMULATED_F16_ACCUMULATOR(name, type)                                        \
  template <bool kFirst>                                                                   \
  inline void name(uint32_t(&d)[2], const uint32_t(&a)[4], uint32_t b0, uint32_t b1) {     \
    const uint32_t c[2] = {kFirst ? 0 : d[0], kFirst ? 0 : d[1]};                          \
    ::emulation::mma_sync_f16_accumulator(::emulation::MatrixType::type, d, a, b0, b1, c); \
  }
ATTN4J_EMULATED_F16_ACCUMULATOR(mma_m16n8k16_f16_f16, kF16)
ATTN4J_EMULATED_F16_ACCUMULATOR(mma_m16n8k32_e4m3_f16, kE4m3)
#undef ATTN4J_EMULATED_F16_ACCUMULATOR

template <bool kFirst>
inline void mma_m16n8k32_e4m3(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  uint32_t bits[4], c[4] = {};
  if (!kFirst) std::memcpy(c, d, sizeof c);
  ::emulation::mma_sync(::emulation::MatrixType::kE4m3, bits, a, b0, b1, c);
  std::memcpy(d, bits, sizeof bits);
}

}  // namespace attn4j::ptx
