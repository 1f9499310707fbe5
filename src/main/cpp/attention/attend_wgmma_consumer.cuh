// One consumer warpgroup of the Hopper kernel: 64 query rows against all keys of a work item.
#pragma once

#include "attention/attend_wgmma_softmax.cuh"
#include "device/ptx/mbarrier.cuh"
#include "device/ptx/wgmma.cuh"
#include "device/ptx/wgmma_e4m3.cuh"
#include "device/ptx/wgmma_s8.cuh"

namespace attn4j {

// Position in a ring of stages, with the parity of the phase in which the stage is full.
template <int kStages>
struct RingPosition {
  uint32_t stage = 0, parity = 0;
  __device__ __forceinline__ void advance() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// Shared-memory addresses of the barriers.
template <class P>
struct WgmmaBarriers {
  uint32_t base;
  __device__ __forceinline__ uint32_t k_full(uint32_t s) const { return base + 8 * s; }
  __device__ __forceinline__ uint32_t k_empty(uint32_t s) const { return base + 8 * (P::kStages + s); }
  __device__ __forceinline__ uint32_t v_full(uint32_t s) const { return base + 8 * (2 * P::kStages + s); }
  __device__ __forceinline__ uint32_t v_empty(uint32_t s) const { return base + 8 * (3 * P::kStages + s); }
  __device__ __forceinline__ uint32_t q_full(uint32_t s) const { return base + 8 * (4 * P::kStages + s); }
  __device__ __forceinline__ uint32_t q_empty(uint32_t s) const { return base + 8 * (4 * P::kStages + 2 + s); }
};

__device__ __forceinline__ void random_delay() {
  uint32_t x = static_cast<uint32_t>(clock64()) * 2654435761u ^ (threadIdx.x >> 5) * 40503u;
  x ^= x >> 15;
  if ((x & 3) == 0) __nanosleep(x >> 4 & 2047);
}

template <class P>
struct WgmmaConsumer {
  static constexpr int kHalf = P::kHalf, kD = P::kHeadDim, kGroups = kHalf / 32, kPacks = kHalf / 8;
  static constexpr int kScores = kHalf / 2, kOut = P::kVRows / 2;

  // Registers. `scores` are the two score buffers; in place they become probabilities.
  int32_t scores[2][kScores];
  uint32_t p[2][kPacks];        // of each buffer: one is packed while a multiply reads the other
  float out[kOut], part[kOut];  // O, and the P V of the keys since the last fold
  float reference[2];           // of rows r and r+8: p = 2^(score - reference), an integer
  float out_factor[2], next_factor[2];  // 2^(old - new reference): for the next fold, for the one after it
  float q_scale[2];
  float k_scale[2][kGroups];
  // Positions.
  uint32_t smem;
  int warpgroup, lane, row;  // row: this thread's first row within the CTA's tile
  RingPosition<P::kStages> k_at, v_at;
  int limit;                 // last key that this thread's first row sees; the second row sees 8 more
  int warp_limit;            // last key that the warp's first row sees
  WgmmaBarriers<P> barrier;

  __device__ __forceinline__ void release(uint32_t empty) {
    if (lane == 0) ptx::mbarrier_arrive(empty);
  }

  // ------------------------------------------------------------------------------------------------ multiplies

  template <int kBuffer>
  __device__ __forceinline__ void issue_qk(uint32_t q_address) {
    const uint64_t a = ptx::wgmma_descriptor(q_address, 128, 8 * kD);
    const uint64_t b = ptx::wgmma_descriptor(smem + P::kKAt + k_at.stage * P::kKBytes, 128, 8 * kD) +
                       kBuffer * (kHalf * kD / 16);
    ptx::WgmmaS8<kHalf>::ss_first(scores[kBuffer], a, b);
#pragma unroll
    for (int k = 1; k < kD / 32; k++) ptx::WgmmaS8<kHalf>::ss(scores[kBuffer], a + 16 * k, b + 16 * k);
    ptx::wgmma_commit_group();
  }

  // P V of the half `kBuffer` of stage v_at.
  template <int kBuffer>
  __device__ __forceinline__ void issue_pv() {
    const uint64_t b = ptx::wgmma_descriptor(smem + P::kVAt + v_at.stage * P::kVBytes, 128, 256) +
                       kBuffer * (kHalf * P::kVRows / 16);
#pragma unroll
    for (int g = 0; g < kGroups; g++) {
      if (g == 0 && kBuffer == 0) {
        ptx::WgmmaE4m3<P::kVRows>::rs_first(part, p[kBuffer], b);
      } else {
        ptx::WgmmaE4m3<P::kVRows>::rs(part, p[kBuffer] + 4 * g, b + g * (2 * P::kVRows));
      }
    }
    ptx::wgmma_commit_group();
  }

  // ------------------------------------------------------------------------------------------------ softmax

  __device__ __forceinline__ void load_k_scales(int buffer) {
    const uint32_t address = smem + P::kScaleAt + k_at.stage * P::kScaleBytes + buffer * (kGroups * 16) + 4 * (lane & 3);
#pragma unroll
    for (int g = 0; g < kGroups; g++) {
      asm volatile("ld.shared.f32 %0, [%1];" : "=f"(k_scale[buffer][g]) : "r"(address + 16 * g) : "memory");
    }
  }

  __device__ __forceinline__ static constexpr bool is_poly(int i) {
    constexpr int kEvery = P::kT.poly_every > 0 ? P::kT.poly_every : 1;
    return P::kT.poly_every > 0 && i % kEvery == kEvery - 1;
  }

  // Probabilities of the packed registers [kFirst, kLast) of a buffer.
  template <int kBuffer, int kFirst, int kLast>
  __device__ __forceinline__ void exponentiate() {
#pragma unroll
    for (int i = kFirst; i < kLast; i++) {
      const int x = i & 3;
      const int32_t* s = scores[kBuffer] + 16 * (i >> 2) + 8 * (x >> 1) + 2 * (x & 1);
      const float scale = fmaxf(q_scale[x & 1] * k_scale[kBuffer][i >> 2], kMinScale);
      const float y[4] = {__int2float_rn(s[0]), __int2float_rn(s[1]), __int2float_rn(s[4]), __int2float_rn(s[5])};
      if (is_poly(i)) {
        const float scale8 = 8.f * scale, addend = fmaf(-8.f, reference[x & 1], 56.f);
        p[kBuffer][i] = exp_codes(fmaf(y[0], scale8, addend), fmaf(y[1], scale8, addend), fmaf(y[2], scale8, addend),
                                  fmaf(y[3], scale8, addend));
      } else {
        float e[4];
#pragma unroll
        for (int n = 0; n < 4; n++) e[n] = ptx::ex2_approx_ftz(fmaf(y[n], scale, -reference[x & 1]));
        p[kBuffer][i] = ptx::pack_e4m3x4(e[0], e[1], e[2], e[3]);
      }
    }
  }

  __device__ __forceinline__ void fold() {
#pragma unroll
    for (int i = 0; i < kOut; i++) out[i] = fmaf(out[i], out_factor[i >> 1 & 1], part[i]);
  }

  // Sets the scores of keys beyond a row's limit to minus infinity.
  template <int kBuffer>
  __device__ __forceinline__ void mask(int first_key) {
    const int room = limit - first_key - 2 * (lane & 3);
#pragma unroll
    for (int i = 0; i < kScores; i++) {
      if (8 * (i >> 2) + (i & 1) > room + 8 * (i >> 1 & 1)) scores[kBuffer][i] = kMaskedScore;
    }
  }

  // Largest score of this thread's two rows in a buffer, in units of the K scales.
  template <int kBuffer>
  __device__ __forceinline__ void largest(float (&y)[2]) {
    y[0] = y[1] = -kInfinity;
#pragma unroll
    for (int g = 0; g < kGroups; g++) {
      const int32_t* s = scores[kBuffer] + 16 * g;
      int32_t x0 = max(s[0], s[1]), x1 = max(s[2], s[3]);
#pragma unroll
      for (int i = 1; i < 4; i++) {
        x0 = __vimax3_s32(x0, s[4 * i], s[4 * i + 1]);
        x1 = __vimax3_s32(x1, s[4 * i + 2], s[4 * i + 3]);
      }
      y[0] = fmaxf(y[0], __int2float_rn(x0) * k_scale[kBuffer][g]);
      y[1] = fmaxf(y[1], __int2float_rn(x1) * k_scale[kBuffer][g]);
    }
    y[0] *= q_scale[0];
    y[1] *= q_scale[1];
  }

  __device__ __forceinline__ bool exceeds(const float (&y)[2]) const {
    return y[0] > reference[0] + kMaxExponent || y[1] > reference[1] + kMaxExponent;
  }

  // Raises the references so that no probability of the buffer exceeds e4m3. References are integers and factors
  // powers of two: probabilities of the stage's first half, already packed, are rescaled exactly.
  __device__ __forceinline__ void raise(const float (&y)[2], float (&factor)[2], bool rescale_p) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const float top = quad_max(y[r]) - kMaxExponent;
      const float raised = top > reference[r] ? ceilf(top + P::kT.headroom) : reference[r];
      const float f = ptx::ex2_approx_ftz(reference[r] - raised);
      reference[r] = raised;
      factor[r] *= f;
      if (rescale_p) {
#pragma unroll
        for (int i = 0; i < kPacks; i++) {
          if ((i & 1) == r) p[0][i] = scale_packed(p[0][i], f);
        }
      }
    }
  }

  // ------------------------------------------------------------------------------------------------ one half

  enum class Role { kFirst, kMiddle, kLast };

  // Exponentiates half kBuffer of the current stage while the tensor cores compute the next half's scores and the
  // previous half's P V; then looks at the next half's maximum and raises the references if it must.
  // Nothing is in flight at entry and exit. `next_key` is the first key of the next half.
  template <int kBuffer, Role kRole>
  __device__ __forceinline__ void step(uint32_t q_address, int next_key) {
    constexpr bool kHasNext = kRole != Role::kLast, kHasPrevious = kRole != Role::kFirst;
    constexpr int kOther = 1 - kBuffer, kEarly = P::kT.packs_before_wait;
    if constexpr (P::kT.random_delay) random_delay();
    if constexpr (kHasNext && kBuffer == 1) ptx::mbarrier_finish_wait(barrier.k_full(k_at.stage), k_at.parity, k_ready);
    ptx::wgmma_fence();
    if constexpr (kHasPrevious) issue_pv<kOther>();
    if constexpr (kHasNext) {
      issue_qk<kOther>(q_address);
      load_k_scales(kOther);
    }
    RingPosition<P::kStages> v_next = v_at;
    if constexpr (kBuffer == 0 && kHasPrevious) v_next.advance();
    uint32_t v_ready = 1;
    if constexpr (kBuffer == 0) v_ready = ptx::mbarrier_try_wait(barrier.v_full(v_next.stage), v_next.parity);
    exponentiate<kBuffer, 0, kEarly>();
    hold_back<kBuffer, kEarly>();
    if constexpr (kBuffer == 0) ptx::mbarrier_finish_wait(barrier.v_full(v_next.stage), v_next.parity, v_ready);
    if constexpr (P::kT.random_delay) random_delay();
    ptx::wgmma_wait_group<0>();
    if constexpr (kHasPrevious) ptx::wgmma_pin<kOut>(part);
    if constexpr (kHasNext) {
      ptx::wgmma_pin<kScores>(scores[kOther]);
      if constexpr (kBuffer == 0) {
        release(barrier.k_empty(k_at.stage));
        k_at.advance();
        // The result is needed at the next half's start: asked for now, its latency is hidden.
        k_ready = ptx::mbarrier_try_wait(barrier.k_full(k_at.stage), k_at.parity);
      }
      if (next_key + kHalf - 1 > warp_limit) mask<kOther>(next_key);
    }
    if constexpr (kHasPrevious && kBuffer == 0) {
      release(barrier.v_empty(v_at.stage));
      v_at.advance();
      fold();
    }
    float y[2];
    if constexpr (kHasNext) largest<kOther>(y);
    exponentiate<kBuffer, kEarly, kPacks>();
    finish_half<kBuffer, kHasNext>(y);
  }
  uint32_t k_ready;

  // ptxas moves a multiply's wait to the top of its basic block, and arithmetic whose results are used later below
  // it: the exponentials would start after the multiplies that they should hide. So the block ends here, with a branch
  // on the packed probabilities. They are never negative: the branch is never taken.
  template <int kBuffer, int kCount>
  __device__ __forceinline__ void hold_back() {
    uint32_t signs = 0;
#pragma unroll
    for (int i = 0; i < kCount; i++) signs |= p[kBuffer][i];
    ptx::spin_while_negative(signs);
  }

  // Bookkeeping of the factors between references, and the check of the next half.
  template <int kBuffer, bool kHasNext>
  __device__ __forceinline__ void finish_half(const float (&y)[2]) {
    if constexpr (kBuffer == 0) {
      out_factor[0] = next_factor[0];
      out_factor[1] = next_factor[1];
      if (__any_sync(kFullWarp, exceeds(y))) raise(y, out_factor, true);
    } else if constexpr (kHasNext) {
      next_factor[0] = next_factor[1] = 1.f;
      if (__any_sync(kFullWarp, exceeds(y))) raise(y, next_factor, false);
    }
  }

  // All keys of one item. On return `out` holds the sums, `out`'s ones column the normalisers.
  __device__ __forceinline__ void attend(uint32_t q_address, int tiles) {
#pragma unroll
    for (int i = 0; i < kOut; i++) out[i] = 0.f;
#pragma unroll
    for (int r = 0; r < 2; r++) {
      reference[r] = kNoKeyYet;
      out_factor[r] = next_factor[r] = 1.f;
    }
    int key = (tiles - 1) * P::kKeys;
    ptx::mbarrier_wait(barrier.k_full(k_at.stage), k_at.parity);
    ptx::wgmma_fence();
    issue_qk<0>(q_address);
    load_k_scales(0);
    ptx::wgmma_wait_group<0>();
    ptx::wgmma_pin<kScores>(scores[0]);
    if (key + kHalf - 1 > warp_limit) mask<0>(key);
    float y[2];
    largest<0>(y);
    raise(y, next_factor, false);

    step<0, Role::kFirst>(q_address, key + kHalf);
#pragma unroll 1
    for (int j = tiles - 1; j > 0; j--) {
      key -= P::kKeys;
      step<1, Role::kMiddle>(q_address, key);
      step<0, Role::kMiddle>(q_address, key + kHalf);
    }
    step<1, Role::kLast>(q_address, 0);
    ptx::wgmma_fence();
    issue_pv<1>();
    ptx::wgmma_wait_group<0>();
    ptx::wgmma_pin<kOut>(part);
    release(barrier.v_empty(v_at.stage));
    v_at.advance();
    fold();
  }
};

}  // namespace attn4j
