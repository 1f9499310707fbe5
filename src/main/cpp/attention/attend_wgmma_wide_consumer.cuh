// One consumer warpgroup of the wide Hopper kernel: 64 query rows against all keys of a work item.
#pragma once

#include "attention/attend_wgmma_consumer.cuh"
#include "attention/attend_wgmma_wide_policy.cuh"

namespace attn4j {

template <class P>
struct WideBarriers {
  uint32_t base;
  __device__ __forceinline__ uint32_t full(uint32_t s) const { return base + 8 * s; }
  __device__ __forceinline__ uint32_t empty(uint32_t s) const { return base + 8 * (P::kStages + s); }
  __device__ __forceinline__ uint32_t q_full(uint32_t s) const { return base + 8 * (2 * P::kStages + s); }
  __device__ __forceinline__ uint32_t q_empty(uint32_t s) const { return base + 8 * (2 * P::kStages + 2 + s); }
};

__device__ __forceinline__ float lds(uint32_t address) {
  float x;
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(x) : "r"(address) : "memory");
  return x;
}
__device__ __forceinline__ int32_t lds_int(uint32_t address) {
  int32_t x;
  asm volatile("ld.shared.s32 %0, [%1];" : "=r"(x) : "r"(address) : "memory");
  return x;
}
__device__ __forceinline__ float2 lds2(uint32_t address) {
  float2 x;
  asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(x.x), "=f"(x.y) : "r"(address) : "memory");
  return x;
}
__device__ __forceinline__ float4 lds4(uint32_t address) {
  float4 x;
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
               : "r"(address)
               : "memory");
  return x;
}
__device__ __forceinline__ void sts2(uint32_t address, float x, float y) {
  asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(address), "f"(x), "f"(y) : "memory");
}
__device__ __forceinline__ void sts4(uint32_t address, float x, float y, float z, float w) {
  asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(address), "f"(x), "f"(y), "f"(z), "f"(w) : "memory");
}

// 2^x without MUFU: 12582912 + 1024 t has in its low 16 bits the fp16 number whose logarithm is, piecewise linearly,
// t - 15. The quadratic makes 2^x of it (relative error 0.4 %, a tenth of e4m3's rounding).
constexpr float kMagic = 12582912.f;
constexpr int32_t kMagicBits = 0x4b400000;
constexpr int32_t kMagicLimit = kMagicBits + 24378;  // (15 + log2(448)) * 1024

__device__ __forceinline__ uint32_t poly_exp2(int32_t a, int32_t b) {
  a = max(a, kMagicBits);
  b = max(b, kMagicBits);
  const uint32_t h = __byte_perm(static_cast<uint32_t>(a), static_cast<uint32_t>(b), 0x5410);
  const uint32_t m = (h & 0x03ff03ffu) | 0x3c003c00u;
  const auto half2 = [](const uint32_t& x) { return *reinterpret_cast<const __half2*>(&x); };
  const uint32_t c0 = 0x3dd33dd3u, c1 = 0xb98cb98cu, c2 = 0x337a337au;
  const __half2 p = __hmul2(half2(h), __hfma2(__hfma2(half2(c2), half2(m), half2(c1)), half2(m), half2(c0)));
  return *reinterpret_cast<const uint32_t*>(&p);
}

__device__ __forceinline__ uint32_t pack_half2(uint32_t low, uint32_t high) {
  uint32_t r;
  asm volatile(
      "{.reg .b16 l, h; cvt.rn.satfinite.e4m3x2.f16x2 l, %1; cvt.rn.satfinite.e4m3x2.f16x2 h, %2; "
      "mov.b32 %0, {l, h};}"
      : "=r"(r)
      : "r"(low), "r"(high));
  return r;
}

template <class P>
struct WideConsumer {
  static constexpr int kTile = P::kTile, kTiles = P::kTiles, kD = P::kHeadDim, kGroups = kTile / 32, kPacks = kTile / 8;
  static constexpr int kScores = kTile / 2, kOut = P::kVRows / 2, kQSteps = kD / 32;

  int32_t scores[kScores];
  uint32_t packed[P::kOverlap ? 2 : 1][kPacks];
  float part[kOut];  // P V since the last fold; the rest of O is in the slab
  uint32_t q[P::kQInRegisters ? kQSteps : 1][4];
  float reference[2];  // of rows r and r+8: p = 2^(score - reference), an integer
  float q_scale[2], k_scale[kGroups];
  uint32_t smem;
  int lane, warpgroup, warp_row;
  RingPosition<P::kStages> at;  // the stage whose P V comes next
  uint32_t round;               // items done: Q's buffer and parity
  int since_fold;               // stages
  WideBarriers<P> barrier;

  __device__ __forceinline__ void release(uint32_t empty) {
    if (lane == 0) ptx::mbarrier_arrive(empty);
  }

  // ------------------------------------------------------------------------------------------------ multiplies

  template <int kAt>
  __device__ __forceinline__ void issue_qk(uint32_t stage) {
    const uint64_t b =
        ptx::wgmma_descriptor(smem + P::kKAt + stage * P::kKBytes, 128, 8 * kD) + kAt * (kTile * kD / 16);
    if constexpr (P::kQInRegisters) {
      ptx::WgmmaS8<kTile>::rs_first(scores, q[0], b);
#pragma unroll
      for (int k = 1; k < kQSteps; k++) ptx::WgmmaS8<kTile>::rs(scores, q[k], b + 16 * k);
    } else {
      const uint64_t a = ptx::wgmma_descriptor(q_address(), 128, 8 * kD);
      ptx::WgmmaS8<kTile>::ss_first(scores, a, b);
#pragma unroll
      for (int k = 1; k < kQSteps; k++) ptx::WgmmaS8<kTile>::ss(scores, a + 16 * k, b + 16 * k);
    }
    load_k_scales<kAt>(stage);
  }

  template <int kAt>
  __device__ __forceinline__ void issue_pv(uint32_t stage) {
    const uint64_t b =
        ptx::wgmma_descriptor(smem + P::kVAt + stage * P::kVBytes, 128, 256) + kAt * (kTile * P::kVRows / 16);
    uint32_t* p = packed[P::kOverlap ? kAt & 1 : 0];
    if constexpr (kAt == 0) {
      ptx::WgmmaE4m3<P::kVRows>::rs_if(part, p, b, since_fold);
    } else {
      ptx::WgmmaE4m3<P::kVRows>::rs(part, p, b);
    }
#pragma unroll
    for (int g = 1; g < kGroups; g++) ptx::WgmmaE4m3<P::kVRows>::rs(part, p + 4 * g, b + g * (2 * P::kVRows));
  }

  template <int kAt>
  __device__ __forceinline__ void load_k_scales(uint32_t stage) {
    const uint32_t address = smem + P::kScaleAt + stage * P::kScaleBytes + kAt * (kGroups * 16) + 4 * (lane & 3);
#pragma unroll
    for (int g = 0; g < kGroups; g++) k_scale[g] = lds(address + 16 * g);
  }

  // ------------------------------------------------------------------------------------------------ softmax

  static __device__ __forceinline__ float after(float x, uint32_t packed) {
    return __uint_as_float(__float_as_uint(x) | (packed & 0x80000000u));
  }

  // Probabilities of the current scores. True if one may exceed e4m3, where the caller asks.
  template <bool kMask>
  __device__ __forceinline__ bool exponentiate(const int32_t* scores, uint32_t* p) {
    int32_t highest = 0;
    uint32_t codes = 0;
#pragma unroll
    for (int i = 0; i < kPacks; i++) {
      const int x = i & 3;
      const int32_t* s = scores + 16 * (i >> 2) + 8 * (x >> 1) + 2 * (x & 1);
      float scale = q_scale[x & 1] * k_scale[i >> 2];
      if constexpr (kMask) scale = ptx::max_nan(scale, kMinScale);
      float ref = reference[x & 1];
      if (P::kPacksAtOnce > 0 && i >= P::kPacksAtOnce) ref = after(ref, p[i - P::kPacksAtOnce]);
      const float y[4] = {__int2float_rn(s[0]), __int2float_rn(s[1]), __int2float_rn(s[4]), __int2float_rn(s[5])};
      constexpr int kEvery = P::kPolyEvery > 0 ? P::kPolyEvery : kPacks + 1;
      if (!kMask && i % kEvery == kEvery - 1) {
        const float base = fmaf(-ref, 1024.f, kMagic + 15 * 1024.f);
        int32_t v[4];
#pragma unroll
        for (int n = 0; n < 4; n++) v[n] = __float_as_int(fmaf(y[n], scale * 1024.f, base));
        if constexpr (P::kOptimistic) {
          highest = __vimax3_s32(highest, v[0], v[1]);
          highest = __vimax3_s32(highest, v[2], v[3]);
        }
        p[i] = pack_half2(poly_exp2(v[0], v[1]), poly_exp2(v[2], v[3]));
      } else {
        float e[4];
#pragma unroll
        for (int n = 0; n < 4; n++) e[n] = ptx::ex2_approx_ftz(fmaf(y[n], scale, -ref));
        p[i] = ptx::pack_e4m3x4(e[0], e[1], e[2], e[3]);
        // The codes 0x7e (448) and 0x7f (NaN) become negative.
        if constexpr (P::kOptimistic && !kMask) codes |= p[i] + 0x02020202u;
      }
    }
    return (codes & 0x80808080u) != 0 || highest > kMagicLimit;
  }

  __device__ __forceinline__ int row_limit() const {
    return lds_int(smem + P::kItemAt + 32 * (round & 1)) + warp_row;
  }

  // Sets the scores of keys beyond a row's limit to minus infinity.
  __device__ __forceinline__ void mask(int32_t* scores, int first_key) {
    const int limit = row_limit();
    if (first_key + kTile - 1 <= limit) return;
    const int room = limit + (lane >> 2) - first_key - 2 * (lane & 3);
#pragma unroll
    for (int i = 0; i < kScores; i++) {
      if (8 * (i >> 2) + (i & 1) > room + 8 * (i >> 1 & 1)) scores[i] = kMaskedScore;
    }
  }

  // Largest score of this thread's two rows; -inf if all are masked.
  template <bool kMask>
  __device__ __forceinline__ void largest(const int32_t* scores, float (&y)[2]) {
    y[0] = y[1] = -kInfinity;
#pragma unroll
    for (int g = 0; g < kGroups; g++) {
      const int32_t* s = scores + 16 * g;
      int32_t x0 = max(s[0], s[1]), x1 = max(s[2], s[3]);
#pragma unroll
      for (int i = 1; i < 4; i++) {
        x0 = __vimax3_s32(x0, s[4 * i], s[4 * i + 1]);
        x1 = __vimax3_s32(x1, s[4 * i + 2], s[4 * i + 3]);
      }
      if (!kMask || x0 != kMaskedScore) y[0] = fmaxf(y[0], __int2float_rn(x0) * k_scale[g]);
      if (!kMask || x1 != kMaskedScore) y[1] = fmaxf(y[1], __int2float_rn(x1) * k_scale[g]);
    }
    y[0] *= q_scale[0];
    y[1] *= q_scale[1];
  }

  __device__ __forceinline__ bool exceeds(const float (&y)[2]) const {
    return y[0] > reference[0] + kMaxExponent || y[1] > reference[1] + kMaxExponent;
  }

  __device__ __forceinline__ uint32_t slab() const {
    return smem + P::kSlabAt + warpgroup * P::kSlabBytes + (threadIdx.x & 127) * 16;
  }
  __device__ __forceinline__ uint32_t slab_factors() const {
    return smem + P::kSlabAt + warpgroup * P::kSlabBytes + kOut * 512 + (threadIdx.x & 127) * 8;
  }

  // Raises the references so that no probability exceeds e4m3. References are integers and factors powers of two.
  // Returns whether one rose; O's factor is done, `factor` is what remains to be applied to `part`.
  __device__ __forceinline__ bool raise(const float (&y)[2], float (&factor)[2]) {
    bool rose = false;
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const float top = quad_max(y[r]) - kMaxExponent;
      const bool first = reference[r] == kNoKeyYet && top > -kInfinity;
      const bool higher = first || top > reference[r];
      const float raised = higher ? ceilf(top + P::kHeadroom) : reference[r];
      factor[r] = first ? 0.f : ptx::ex2_approx_ftz(reference[r] - raised);
      reference[r] = raised;
      rose |= higher;
    }
    const float2 old = lds2(slab_factors());
    sts2(slab_factors(), old.x * factor[0], old.y * factor[1]);
    return rose;
  }

  __device__ __forceinline__ void rescale(const float (&factor)[2]) {
#pragma unroll
    for (int i = 0; i < kOut; i++) part[i] *= factor[i >> 1 & 1];
  }

  // ------------------------------------------------------------------------------------------------ O in the slab

  __device__ __forceinline__ void clear_slab() {
#pragma unroll
    for (int i = 0; i < kOut / 4; i++) sts4(slab() + 2048 * i, 0.f, 0.f, 0.f, 0.f);
    sts2(slab_factors(), 1.f, 1.f);
  }

  // part += O * factor
  __device__ __forceinline__ void take_slab() {
    const float2 f = lds2(slab_factors());
#pragma unroll
    for (int i = 0; i < kOut / 4; i++) {
      const float4 o = lds4(slab() + 2048 * i);
      part[4 * i] = fmaf(o.x, f.x, part[4 * i]);
      part[4 * i + 1] = fmaf(o.y, f.x, part[4 * i + 1]);
      part[4 * i + 2] = fmaf(o.z, f.y, part[4 * i + 2]);
      part[4 * i + 3] = fmaf(o.w, f.y, part[4 * i + 3]);
    }
  }

  __device__ __forceinline__ void fold() {
    take_slab();
#pragma unroll
    for (int i = 0; i < kOut / 4; i++) {
      sts4(slab() + 2048 * i, part[4 * i], part[4 * i + 1], part[4 * i + 2], part[4 * i + 3]);
    }
    sts2(slab_factors(), 1.f, 1.f);
  }

  // ------------------------------------------------------------------------------------------------ items

  __device__ __forceinline__ uint32_t q_address() const {
    return smem + P::kQAt + (q_round & 1) * P::kQBytes + warpgroup * (64 * kD);
  }
  uint32_t q_round;  // the round whose Q the multiplies use

  // A core matrix of Q (8 rows of 16 bytes) is a quarter of an A operand, lane by lane.
  __device__ __forceinline__ void load_q(uint32_t r) {
    q_round = r;
    if constexpr (P::kQInRegisters) {
      const uint32_t base = smem + P::kQAt + (r & 1) * P::kQBytes + warp_row * kD + 4 * lane;
#pragma unroll
      for (int k = 0; k < kQSteps; k++) {
#pragma unroll
        for (int i = 0; i < 4; i++) q[k][i] = lds_int(base + (i & 1) * (8 * kD) + (2 * k + (i >> 1)) * 128);
      }
    }
  }

  // This warpgroup's stages of the item of round r (-1: no more items), and how many before them see none of its rows.
  __device__ __forceinline__ void look(uint32_t r, int& tiles, int& skip) {
    ptx::mbarrier_wait(barrier.q_full(r & 1), r >> 1 & 1);
    const uint32_t item = smem + P::kItemAt + 32 * (r & 1);
    const int all = __shfl_sync(kFullWarp, lds_int(item + 4), 0), limit = __shfl_sync(kFullWarp, lds_int(item), 0);
    const int keys = limit + 64 * warpgroup + 64;
    tiles = all < 0 ? -1 : min(all, (max(keys, 0) + P::kKeys - 1) / P::kKeys);
    skip = all - tiles;
  }

  __device__ __forceinline__ void skip_stages(RingPosition<P::kStages>& position, int count) {
#pragma unroll 1
    for (; count > 0; count--) {
      ptx::mbarrier_wait(barrier.full(position.stage), position.parity);
      release(barrier.empty(position.stage));
      position.advance();
    }
  }

  // First scores of an item, where the item before could not start them.
  __device__ __forceinline__ void start(uint32_t r, int tiles, int skip) {
    skip_stages(at, skip);
    if (tiles > 0) {
      load_q(r);
      ptx::mbarrier_wait(barrier.full(at.stage), at.parity);
    }
    ptx::wgmma_fence();
    issue_qk<0>(at.stage);  // without keys it multiplies whatever is there, and nobody looks
    ptx::wgmma_commit_group();
    ptx::wgmma_wait_group<0>();
    ptx::wgmma_pin<kScores>(scores);
  }

  // Probabilities of the current scores, with references that bound them. True if a reference rose and `part` has yet to
  // be multiplied with `factor`.
  template <bool kMask>
  __device__ __forceinline__ bool softmax(uint32_t* p, int first_key, float (&factor)[2]) {
    float y[2];
    bool rose = false;
    if constexpr (kMask) {
      int32_t masked[kScores];
#pragma unroll
      for (int i = 0; i < kScores; i++) masked[i] = scores[i];
      mask(masked, first_key);
      largest<true>(masked, y);
      raise(y, factor);
      exponentiate<true>(masked, p);
      return true;
    } else if constexpr (P::kOptimistic) {
      if (__any_sync(kFullWarp, exponentiate<false>(scores, p))) {
        // Nothing computed above is worth a register until here: as far as the compiler knows, these are new scores.
        const int nothing = lds_int(smem + P::kItemAt + 32 * (round & 1) + 4) >> 31;
        int32_t again[kScores];
#pragma unroll
        for (int i = 0; i < kScores; i++) again[i] = scores[i] ^ nothing;
        largest<false>(again, y);
        rose = __any_sync(kFullWarp, raise(y, factor));
        if (rose) exponentiate<false>(again, p);
        if constexpr (!P::kOverlap) {
          if (rose) rescale(factor);
        }
      }
    } else {
      largest<false>(scores, y);
      rose = __any_sync(kFullWarp, exceeds(y));
      if (rose) {
        raise(y, factor);
        if constexpr (!P::kOverlap) rescale(factor);
      }
      exponentiate<false>(scores, p);
      if constexpr (P::kOverlap) {
        // Ends the basic block: the next wait must not move above the exponentials (docs/hopper.md).
        uint32_t signs = 0;
#pragma unroll
        for (int i = 0; i < kPacks; i++) signs |= p[i];
        ptx::mbarrier_finish_wait(barrier.full(at.stage), at.parity, ~signs >> 31);
      }
    }
    return P::kOverlap && rose;
  }

  __device__ __forceinline__ void fold_if_due() {
    if (since_fold == P::kFoldStages) {
      fold();
      since_fold = 0;
    }
  }

  // The stage with the next item's first scores, where that can be multiplied now.
  __device__ __forceinline__ bool open(RingPosition<P::kStages>& next, int& next_tiles, int& next_skip) {
    look(round + 1, next_tiles, next_skip);
    const bool started = next_tiles > 0 && next_skip <= P::kStages - 2;  // the current stage isn't released yet
    if (started) {
      skip_stages(next, next_skip);
      load_q(round + 1);
      ptx::mbarrier_wait(barrier.full(next.stage), next.parity);
    }
    return started;
  }

  // One tile, nothing in flight before and after it. At entry and exit scores are complete: the tile's, the next one's.
  template <int kAt, bool kMask>
  __device__ __forceinline__ void step(int first_key, bool last, int& next_tiles, int& next_skip, bool& started) {
    constexpr bool kEnds = kAt == kTiles - 1;
    if constexpr (P::kRandomDelay) random_delay();
    RingPosition<P::kStages> next = at;
    uint32_t ready = 0;
    if constexpr (kEnds) {
      next.advance();
      ready = ptx::mbarrier_try_wait(barrier.full(next.stage), next.parity);
    }
    float factor[2];
    if (softmax<kMask>(packed[0], first_key + kAt * kTile, factor)) rescale(factor);
    if constexpr (kAt == 0) fold_if_due();
    if constexpr (kEnds) {
      if (last) {
        started = open(next, next_tiles, next_skip);
      } else {
        ptx::mbarrier_finish_wait(barrier.full(next.stage), next.parity, ready);
      }
    }
    ptx::wgmma_fence();
    issue_qk<kEnds ? 0 : kAt + 1>(next.stage);
    issue_pv<kAt>(at.stage);
    ptx::wgmma_commit_group();
    ptx::wgmma_wait_group<0>();
    ptx::wgmma_pin<kScores>(scores);
    ptx::wgmma_pin<kOut>(part);
    if constexpr (kEnds) {
      release(barrier.empty(at.stage));
      at = next;
      since_fold++;
    }
  }

  template <bool kMask>
  __device__ __forceinline__ void stage(int j, int& next_tiles, int& next_skip, bool& started) {
    const int first_key = j * P::kKeys;
    step<0, kMask>(first_key, j == 0, next_tiles, next_skip, started);
    if constexpr (kTiles == 2) step<kTiles - 1, kMask>(first_key, j == 0, next_tiles, next_skip, started);
    static_assert(kTiles <= 2);
  }

  // kOverlap: P V of one tile and the scores of the next, whose exponentials run under that P V. Nothing is in flight
  // before and after. At entry and exit probabilities are ready.
  template <int kAt, bool kMask>
  __device__ __forceinline__ void overlapped(int next_key) {
    if constexpr (P::kRandomDelay) random_delay();
    RingPosition<P::kStages> next = at;
    if constexpr (kAt == 1) {
      next.advance();
      ptx::mbarrier_wait(barrier.full(next.stage), next.parity);
    }
    ptx::wgmma_fence();
    issue_qk<1 - kAt>(next.stage);
    ptx::wgmma_commit_group();
    issue_pv<kAt>(at.stage);
    ptx::wgmma_commit_group();
    ptx::wgmma_wait_group<1>();
    ptx::wgmma_pin<kScores>(scores);
    float factor[2];
    const bool rose = softmax<kMask>(packed[1 - kAt], next_key, factor);
    ptx::wgmma_wait_group<0>();
    ptx::wgmma_pin<kOut>(part);
    if (rose) rescale(factor);
    if constexpr (kAt == 1) {
      release(barrier.empty(at.stage));
      at = next;
      since_fold++;
      fold_if_due();
    }
  }

  // All keys of an item, then, if it can (`started`), the first scores of the next one. On return `part` holds the
  // sums, with the normalisers in the ones column.
  __device__ __forceinline__ void attend(int tiles, int& next_tiles, int& next_skip, bool& started) {
    const uint32_t scales = smem + P::kQScaleAt + (round & 1) * P::kQScaleBytes + 4 * (warp_row + (lane >> 2));
    q_scale[0] = lds(scales);
    q_scale[1] = lds(scales + 32);
    reference[0] = reference[1] = kNoKeyYet;
    since_fold = 0;
    clear_slab();
    // Keys are taken from the last to the first. One masked stage more than the mask touches: from then on every row
    // has seen a key.
    const int group_limit = row_limit() - (warp_row & 63);
    int j = tiles - 1;
    if constexpr (!P::kOverlap) {
#pragma unroll 1
      do {
        stage<true>(j, next_tiles, next_skip, started);
        j--;
      } while (j >= 0 && (j + 2) * P::kKeys - 1 > group_limit);
#pragma unroll 1
      for (; j >= 0; j--) stage<false>(j, next_tiles, next_skip, started);
    } else {
      float factor[2];
      softmax<true>(packed[0], j * P::kKeys, factor);  // there is no `part` to rescale yet
      overlapped<0, true>(j * P::kKeys + kTile);
#pragma unroll 1
      for (; j > 0 && (j + 1) * P::kKeys - 1 > group_limit; j--) {
        overlapped<1, true>((j - 1) * P::kKeys);
        overlapped<0, true>((j - 1) * P::kKeys + kTile);
      }
#pragma unroll 1
      for (; j > 0; j--) {
        overlapped<1, false>(0);
        overlapped<0, false>(0);
      }
      RingPosition<P::kStages> next = at;
      next.advance();
      started = open(next, next_tiles, next_skip);
      ptx::wgmma_fence();
      issue_qk<0>(next.stage);
      issue_pv<1>(at.stage);
      ptx::wgmma_commit_group();
      ptx::wgmma_wait_group<0>();
      ptx::wgmma_pin<kScores>(scores);
      ptx::wgmma_pin<kOut>(part);
      release(barrier.empty(at.stage));
      at = next;
    }
    take_slab();
  }
};

}  // namespace attn4j
