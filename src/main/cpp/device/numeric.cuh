// The two 16-bit element types behind one set of names, and the constants of the softmax.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "attn4j/attn4j.h"
#include "device/ptx/math.cuh"
#include "device/ptx/mma.cuh"

namespace attn4j {

constexpr float kLn2 = 0.693147180559945f;
constexpr float kInfinity = __builtin_huge_valf();
constexpr uint32_t kFullWarp = 0xffffffffu;

// Arithmetic on two 16-bit numbers in a word.
template <class Two>
struct PackedPair {
  static __device__ __forceinline__ Two two(uint32_t x) { return *reinterpret_cast<const Two*>(&x); }
  static __device__ __forceinline__ uint32_t word(Two x) { return *reinterpret_cast<const uint32_t*>(&x); }
  // Maximum and minimum of both halves; a NaN stays one.
  static __device__ __forceinline__ uint32_t max2(uint32_t x, uint32_t y) { return word(__hmax2_nan(two(x), two(y))); }
  static __device__ __forceinline__ uint32_t min2(uint32_t x, uint32_t y) { return word(__hmin2_nan(two(x), two(y))); }
  // The same, but a NaN counts for nothing.
  static __device__ __forceinline__ uint32_t number_max2(uint32_t x, uint32_t y) {
    return word(__hmax2(two(x), two(y)));
  }
  static __device__ __forceinline__ uint32_t number_min2(uint32_t x, uint32_t y) {
    return word(__hmin2(two(x), two(y)));
  }
  static __device__ __forceinline__ uint32_t fma2(uint32_t x, Two factor, Two addend) {
    return word(__hfma2(two(x), factor, addend));
  }
  // 0 * x + y: adds zeros up as long as x is finite, and is NaN from then on.
  static __device__ __forceinline__ uint32_t fma2_zero(uint32_t x, uint32_t y) {
    return word(__hfma2(two(0u), two(x), two(y)));
  }
  static __device__ __forceinline__ uint32_t neg2(uint32_t x) { return x ^ 0x80008000u; }
};

template <DType T>
struct Element;

template <>
struct Element<DType::kFloat16> : PackedPair<__half2> {
  using type = __half;
  static constexpr uint32_t kOnes = 0x3c003c00u;  // 1, 1
  static __device__ __forceinline__ bool is_finite(uint16_t x) { return (x & 0x7c00u) != 0x7c00u; }
  static __device__ __forceinline__ float to_float(uint16_t x) { return __half2float(__ushort_as_half(x)); }
  static constexpr const char* kName = "f16";
  static __device__ __forceinline__ uint32_t pack(float low, float high) {
    const __half2 h = __floats2half2_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&h);
  }
  static __device__ __forceinline__ float2 unpack(uint32_t x) {
    return __half22float2(*reinterpret_cast<const __half2*>(&x));
  }
  static __device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    ptx::mma_m16n8k16_f16(d, a, b0, b1);
  }
  static __device__ __forceinline__ void mma(uint32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    ptx::mma_m16n8k16_f16(d, a, b0, b1);
  }
  static __device__ __forceinline__ void mma_first(uint32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    ptx::mma_m16n8k16_f16_first(d, a, b0, b1);
  }
};

template <>
struct Element<DType::kBFloat16> : PackedPair<__nv_bfloat162> {
  using type = __nv_bfloat16;
  static constexpr uint32_t kOnes = 0x3f803f80u;
  static __device__ __forceinline__ bool is_finite(uint16_t x) { return (x & 0x7f80u) != 0x7f80u; }
  static __device__ __forceinline__ float to_float(uint16_t x) {
    return __uint_as_float(static_cast<uint32_t>(x) << 16);
  }
  static constexpr const char* kName = "bf16";
  static __device__ __forceinline__ uint32_t pack(float low, float high) {
    const __nv_bfloat162 h = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t*>(&h);
  }
  static __device__ __forceinline__ float2 unpack(uint32_t x) {
    return make_float2(__uint_as_float(x << 16), __uint_as_float(x & 0xffff0000u));
  }
  static __device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    ptx::mma_m16n8k16_bf16(d, a, b0, b1);
  }
  static __device__ __forceinline__ void mma(uint32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    ptx::mma_m16n8k16_bf16(d, a, b0, b1);
  }
  static __device__ __forceinline__ void mma_first(uint32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
    ptx::mma_m16n8k16_bf16_first(d, a, b0, b1);
  }
};

// Eight channels that start at p, zeros from channel `valid` on. `vector` promises 16-byte alignment and valid being 0
// or 8.
__device__ __forceinline__ uint4 load8_words(const uint16_t* p, int valid, bool vector) {
  uint32_t w[4] = {0u, 0u, 0u, 0u};
  if (vector) return valid > 0 ? *reinterpret_cast<const uint4*>(p) : make_uint4(0u, 0u, 0u, 0u);
#pragma unroll
  for (int i = 0; i < 8; i++) {
    if (i < valid) w[i / 2] |= static_cast<uint32_t>(p[i]) << (16 * (i % 2));
  }
  return make_uint4(w[0], w[1], w[2], w[3]);
}

// The same as fp32.
template <DType T>
__device__ __forceinline__ void unpack8(float (&x)[8], const uint4& words) {
  const uint32_t w[4] = {words.x, words.y, words.z, words.w};
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const float2 f = Element<T>::unpack(w[i]);
    x[2 * i] = f.x;
    x[2 * i + 1] = f.y;
  }
}
template <DType T>
__device__ __forceinline__ void load8(float (&x)[8], const typename Element<T>::type* p, int valid, bool vector) {
  unpack8<T>(x, load8_words(reinterpret_cast<const uint16_t*>(p), valid, vector));
}

}  // namespace attn4j
