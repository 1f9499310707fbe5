// The softmax of the kernels on mma.sync: references, probabilities and row sums of one warp.
//
// As in FlashAttention-2 (arXiv:2307.08691, section 3.1), but without the row maxima of each tile. A row keeps a
// reference m, and a score x becomes P = 2^(x - m). Any reference cancels in the result; it only has to keep P inside
// fp16. One vote of the warp per step says whether it does, without a shuffle; if not, the references move to the
// maxima, and O and the sums are rescaled. RangeCheck names what is looked at.
//
// The sums are of P in fp32, before it is rounded: log-sum-exp is what it says.
#pragma once

#include "attention/arguments.h"
#include "device/numeric.cuh"
#include "device/ptx/math.cuh"

namespace attn4j {

enum class RangeCheck {
  // The sums of a step's P, which are wanted anyway: as long as a lane's share stays below 2^15, so does every P in it.
  // No instruction per score, but the scores stay alive until the exponentials are done, and P V waits for the vote.
  kSums,
  // The scores of a lane, before the exponentials: half an instruction per score on integers, and one otherwise.
  kScores,
};

// What P of a step may be. In log2 units: a reference that moves lands `offset` below the maximum, and a score may be
// `headroom` above that before it must move. largest_sum: of a lane's share of a row, at least what the scores that are
// let through add up to.
struct MmaRange {
  float offset, headroom, largest_sum;
};
// Of fp32 accumulators: probabilities have 6 bits more until they reach fp16's subnormals, which long tails of small
// ones need, and 16 of a lane's P in a step stay below 2^15.
constexpr MmaRange kMmaRange{6.f, 5.f, 32768.f};
// A reference before any score. Finite: a masked score, -inf, less this is -inf and no NaN. Any score exceeds it.
constexpr float kMmaNoReference = -3.0e38f;

// The scores of kKeys keys against a warp's rows, as fp32 bits: accumulators of mma.sync. Score e of tile n belongs to
// row lane / 4 + 8 (e / 2) of the block and to key 8 n + 2 (lane % 4) + e % 2. In log2 units it is
// score * multiplier[g] + addend[g] with g = n / 4; what the policy adds to every score cancels in the addend.
template <class Tile>
struct MmaScores {
  static constexpr int kGroups = Tile::kKeys / 32;
  uint32_t s[Tile::kBlocks][Tile::kKeys / 8][4];
  float multiplier[kGroups][Tile::kBlocks][2];
};

// log2 of a row's sum of 2^x; -inf if it has no key.
__device__ __forceinline__ float log_of_sum(float reference, float sum) {
  return sum == 0.f ? -kInfinity : reference + __log2f(sum);
}

// References and row sums of a warp.
template <int kBlocks>
class MmaRowSums {
 public:
  // Adds a step's sums to those of the rows.
  __device__ __forceinline__ void add() {
#pragma unroll
    for (int b = 0; b < kBlocks; b++) sum_[b][0] += part_[b][0], sum_[b][1] += part_[b][1];
  }

  // After the last step: the sums of whole rows in every lane of a quad.
  __device__ __forceinline__ void finish() {
#pragma unroll
    for (int b = 0; b < kBlocks; b++) {
#pragma unroll
      for (int h = 0; h < 2; h++) {
        sum_[b][h] += __shfl_xor_sync(kFullWarp, sum_[b][h], 1);
        sum_[b][h] += __shfl_xor_sync(kFullWarp, sum_[b][h], 2);
      }
    }
  }
  __device__ __forceinline__ float sum(int b, int h) const { return sum_[b][h]; }
  __device__ __forceinline__ float reference(int b, int h) const { return m_[b][h]; }
  // log2 of the sum of 2^x over the row's keys; -inf if there were none.
  __device__ __forceinline__ float log_sum(int b, int h) const { return log_of_sum(m_[b][h], sum_[b][h]); }

 protected:
  float m_[kBlocks][2], sum_[kBlocks][2];  // h = 0: row lane / 4 of the block; h = 1: row lane / 4 + 8
  float part_[kBlocks][2];                 // the sums of the present step
};

template <class Tile, DType T, class Policy>
class MmaSoftmax : public MmaRowSums<Tile::kBlocks> {
 public:
  using Scores = MmaScores<Tile>;
  static constexpr int kBlocks = Tile::kBlocks, kGroups = Scores::kGroups;
  using Fragments = uint32_t[kBlocks][Tile::kKeys / 16][4];  // P as A operands of 16 keys each

  __device__ __forceinline__ MmaSoftmax(const AttentionArgs&, uint32_t) {
#pragma unroll
    for (int b = 0; b < kBlocks; b++) {
      m_[b][0] = m_[b][1] = kMmaNoReference;
      sum_[b][0] = sum_[b][1] = 0.f;
    }
  }

  // P of the scores. `rescale(b, h, factor)` does to O what a reference that moves does to P.
  template <class Rescale>
  __device__ __forceinline__ void probabilities(const Scores& x, Fragments& p, const Rescale& rescale) {
    if constexpr (Policy::kCheck == RangeCheck::kScores) {
      if (__any_sync(kFullWarp, exceeds(x))) raise(x, rescale);
      exponentiate(x, p);
    } else {
      exponentiate(x, p);
      if (__any_sync(kFullWarp, overflows())) {
        raise(x, rescale);
        exponentiate(x, p);
      }
    }
  }

  // Whether no lane's share of a row sum, in these probabilities, is above `limit`, which is in units of what a
  // reference that just moved gives the maximum. Numbers only.
  __device__ __forceinline__ bool is_little(float limit) const {
    bool little = true;
#pragma unroll
    for (int b = 0; b < kBlocks; b++) little = little && part_[b][0] <= limit && part_[b][1] <= limit;
    return __all_sync(kFullWarp, little);
  }

 private:
  using Rows = MmaRowSums<Tile::kBlocks>;
  using Rows::m_, Rows::part_, Rows::sum_;

  // Cancels what the policy adds to a score.
  static __device__ __forceinline__ float offset(float multiplier) {
    return Policy::kScoreOffset == 0.f ? 0.f : -Policy::kScoreOffset * multiplier;
  }

  __device__ __forceinline__ void exponentiate(const Scores& x, Fragments& p) {
#pragma unroll
    for (int b = 0; b < kBlocks; b++) {
#pragma unroll
      for (int h = 0; h < 2; h++) {
        float part = 0.f;
#pragma unroll
        for (int kb = 0; kb < Tile::kKeys / 16; kb++) {
          const float multiplier = x.multiplier[kb / 2][b][h];
          const float addend = offset(multiplier) - m_[b][h];
          float e[4];
#pragma unroll
          for (int i = 0; i < 4; i++) {
            const float s = __uint_as_float(x.s[b][2 * kb + i / 2][2 * h + i % 2]);
            e[i] = ptx::ex2_approx_ftz(fmaf(s, multiplier, addend));
          }
          p[b][kb][h] = Element<T>::pack(e[0], e[1]);
          p[b][kb][2 + h] = Element<T>::pack(e[2], e[3]);
          const float four = (e[0] + e[1]) + (e[2] + e[3]);
          part = kb == 0 ? four : part + four;
        }
        part_[b][h] = part;
      }
    }
  }

  // The largest score of a row, in log2 units, the same for a quad.
  static __device__ __forceinline__ float row_max(const Scores& x, int b, int h) {
    float top = -kInfinity;
#pragma unroll
    for (int n = 0; n < Tile::kKeys / 8; n++) {
      const float multiplier = x.multiplier[n / 4][b][h], addend = offset(multiplier);
#pragma unroll
      for (int e = 0; e < 2; e++) {
        top = fmaxf(top, fmaf(__uint_as_float(x.s[b][n][2 * h + e]), multiplier, addend));
      }
    }
    top = fmaxf(top, __shfl_xor_sync(kFullWarp, top, 1));
    return fmaxf(top, __shfl_xor_sync(kFullWarp, top, 2));
  }

  // Whether a score of this lane exceeds its reference too far.
  __device__ __forceinline__ bool exceeds(const Scores& x) const {
    float top = -kInfinity;
#pragma unroll
    for (int g = 0; g < kGroups; g++) {
#pragma unroll
      for (int b = 0; b < kBlocks; b++) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
          const float multiplier = x.multiplier[g][b][h];
          top = fmaxf(top, fmaf(Policy::largest(x, g, b, h), multiplier, offset(multiplier) - m_[b][h]));
        }
      }
    }
    return top > Policy::kRange.offset + Policy::kRange.headroom;
  }

  // Whether P may not fit, or is no number.
  __device__ __forceinline__ bool overflows() const {
    bool fits = true;
#pragma unroll
    for (int b = 0; b < kBlocks; b++) {
      fits = fits && part_[b][0] <= Policy::kRange.largest_sum && part_[b][1] <= Policy::kRange.largest_sum;
    }
    return !fits;
  }

  // Moves the references that these scores exceed. Rare.
  template <class Rescale>
  __device__ __forceinline__ void raise(const Scores& x, const Rescale& rescale) {
#pragma unroll
    for (int b = 0; b < kBlocks; b++) {
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const float top = row_max(x, b, h) - Policy::kRange.offset;
        const bool up = top > m_[b][h] + Policy::kRange.headroom;
        const float alpha = up ? ptx::ex2_approx_ftz(m_[b][h] - top) : 1.f;
        if (up) m_[b][h] = top;
        sum_[b][h] *= alpha;
        rescale(b, h, alpha);
      }
    }
  }
};

}  // namespace attn4j
