// Softmax pieces of the Hopper kernel: from s32 scores in wgmma accumulators to e4m3 probabilities in A operands.
//
// Accumulator layout: thread t of a quad holds, for 8-key block i, keys 8i+2t, 8i+2t+1 of rows r (elements 4i, 4i+1)
// and r+8 (elements 4i+2, 4i+3). V's image permutes keys within 16 so that packed register x of a 32-key group takes
// the elements b, b+1, b+4, b+5 with b = 16*group + 8*(x>>1) + 2*(x&1): no shuffle. Registers 0 and 2 belong to row r.
#pragma once

#include <cuda_fp16.h>

#include <climits>
#include <cstdint>

#include "attention/fp8_wgmma/policy.cuh"
#include "device/numeric.cuh"
#include "device/ptx/fp8.cuh"
#include "device/ptx/math.cuh"
#include "device/ptx/mbarrier.cuh"
#include "device/ptx/ordering.cuh"

namespace attn4j {

constexpr float kMaxExponent = 8.807354922f;  // log2(448), the largest e4m3
// Reference of a row that has seen no key: every masked score's probability is 0 against it.
constexpr float kNoKeyYet = 0x1p40f;
constexpr int32_t kMaskedScore = INT32_MIN;
// Smallest product of a Q and a K scale: kMaskedScore times it is far enough below every reference for 2^x to vanish.
// Real scores are below 2^21, so that the floor moves none by more than 2^-5, and only where all are as small as that.
constexpr float kMinScale = 0x1p-26f;

// Sets the scores of keys beyond a row's limit to minus infinity. Elements [kFirst, kLast) of an accumulator are the
// thread's keys 8 * (i >> 2) + (i & 1) of some run, of which row r sees the first `room` + 1, row r + 8 eight more.
template <int kFirst, int kLast, int kScores>
__device__ __forceinline__ void mask_scores(int32_t (&s)[kScores], int room) {
#pragma unroll
  for (int i = kFirst; i < kLast; i++) {
    if (8 * ((i - kFirst) >> 2) + (i & 1) > room + 8 * (i >> 1 & 1)) s[i] = kMaskedScore;
  }
}

// Largest score of a thread's two rows in an accumulator; -inf if all are masked, NaN if a scale is.
template <bool kMask, int kScores>
__device__ __forceinline__ void largest_scores(const int32_t (&scores)[kScores], const float (&q_scale)[2],
                                               const float (&k_scale)[kScores / 16], float (&y)[2]) {
  y[0] = y[1] = -kInfinity;
#pragma unroll
  for (int g = 0; g < kScores / 16; g++) {
    const int32_t* s = scores + 16 * g;
    int32_t x0 = max(s[0], s[1]), x1 = max(s[2], s[3]);
#pragma unroll
    for (int i = 1; i < 4; i++) {
      x0 = __vimax3_s32(x0, s[4 * i], s[4 * i + 1]);
      x1 = __vimax3_s32(x1, s[4 * i + 2], s[4 * i + 3]);
    }
    if (!kMask || x0 != kMaskedScore) y[0] = ptx::max_nan(y[0], __int2float_rn(x0) * k_scale[g]);
    if (!kMask || x1 != kMaskedScore) y[1] = ptx::max_nan(y[1], __int2float_rn(x1) * k_scale[g]);
  }
  y[0] *= q_scale[0];
  y[1] *= q_scale[1];
}

// Below the reference plus this, 2^x rounds to zero in e4m3, whose smallest step is 2^-9: with what ex2 may be off.
constexpr float kVanishes = -10.001f;

// Whether a row whose maximum of scores, computed as in largest_scores, is y has nothing but zeros there: what the
// order of multiplications and kMinScale may change is allowed for. False for NaN.
__device__ __forceinline__ bool surely_vanishes(float y, float reference) {
  return y < fmaf(fabsf(reference), -0x1p-21f, reference + (kVanishes - 0x1p-5f));
}

// Whether maxima of a thread's two rows may belong to a probability that isn't zero.
__device__ __forceinline__ bool may_add(const float (&y)[2], const float (&reference)[2]) {
  return !surely_vanishes(y[0], reference[0]) || !surely_vanishes(y[1], reference[1]);
}

// Whether a row's reference may be lowered for keys whose largest score is y. True for NaN.
__device__ __forceinline__ bool may_lower(const float (&y)[2], const float2& highest, float negligible) {
  return !(y[0] <= highest.x + negligible) || !(y[1] <= highest.y + negligible);
}

// Whether `mine` holds in any thread of the warpgroup. The four warps meet; the vote tells the compiler that all lanes
// have the same answer.
__device__ __forceinline__ bool warpgroup_any(bool mine) {
  return __any_sync(kFullWarp, ptx::named_barrier_any(ptx::thread_index() / 128, 128, mine));
}

// e4m3 times a power of two, for packed probabilities whose row reference rose after they were made.
__device__ __forceinline__ uint32_t scale_packed(uint32_t p, float factor) {
  const __half2 f = __float2half2_rn(factor);
  uint32_t out = 0;
#pragma unroll
  for (int h = 0; h < 2; h++) {
    uint32_t x = ptx::unpack_e4m3x2(static_cast<uint16_t>(p >> (16 * h)));
    const __half2 y = __hmul2(*reinterpret_cast<const __half2*>(&x), f);
    out |= static_cast<uint32_t>(ptx::pack_e4m3x2(*reinterpret_cast<const uint32_t*>(&y))) << (16 * h);
  }
  return out;
}

__device__ __forceinline__ float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(kFullWarp, x, 1));
  return fmaxf(x, __shfl_xor_sync(kFullWarp, x, 2));
}

}  // namespace attn4j
