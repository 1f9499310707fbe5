// The softmax of FP8 P V on mma.sync: probabilities in e4m3.
//
// As in fp8_wgmma/ (docs/hopper.md, "The softmax"): a row keeps an integer reference m, P = 2^(x - m), and m rises
// where a score would exceed 448, by 5 to 6 bits more than needed. It falls, too, where all keys of a step lie more
// than kSink below it: what few heavy keys left behind must not round many light ones to zero. Keys that lie log2(n) +
// 8 bits below the highest reference that the row had lower nothing: all n of them have less than 2^-9 of its weight.
//
// The largest score of each lane is looked at before the exponentials. Row sums are of P as it was rounded.
#pragma once

#include "attention/mma/softmax.cuh"
#include "device/ptx/fp8.cuh"
#include "device/ptx/shared_access.cuh"

namespace attn4j {

template <class Tile, class Policy>
class MmaFp8Softmax : public MmaRowSums<Tile::kBlocks> {
 public:
  using Scores = MmaScores<Tile>;
  static constexpr int kBlocks = Tile::kBlocks, kGroups = Scores::kGroups;
  using Fragments = uint32_t[kBlocks][kGroups][4];       // P as A operands of 32 keys each
  static constexpr int kScratchBytes = Tile::kRows * 4;  // the highest reference of each row

  __device__ __forceinline__ MmaFp8Softmax(const AttentionArgs& args, uint32_t scratch)
      : args_(args), highest_(scratch + (threadIdx.x / 32 * Tile::kWarpRows + threadIdx.x % 32 / 4) * 4) {
#pragma unroll
    for (int b = 0; b < kBlocks; b++) {
#pragma unroll
      for (int h = 0; h < 2; h++) {
        m_[b][h] = kMmaNoReference;
        sum_[b][h] = 0.f;
        if (threadIdx.x % 4 == 0) ptx::store_shared(highest(b, h), kMmaNoReference);
      }
    }
  }

  template <class Rescale>
  __device__ __forceinline__ void probabilities(const Scores& x, Fragments& p, const Rescale& rescale) {
    float y[kBlocks][2];
    bool leaves = false;
#pragma unroll
    for (int b = 0; b < kBlocks; b++) {
#pragma unroll
      for (int h = 0; h < 2; h++) {
        y[b][h] = largest(x, b, h);
        // Not in an interval, given by its middle and half of its length; a little less than half: `move` has the last
        // word.
        constexpr float kMiddle = (kMost - kSink) / 2, kHalfLength = (kMost + kSink) / 2 - 0x1p-10f;
        leaves |= fabsf(y[b][h] - m_[b][h] - kMiddle) > kHalfLength;
      }
    }
    if (__any_sync(kFullWarp, leaves)) move(y, rescale);
    exponentiate(x, p);
  }

 private:
  using Rows = MmaRowSums<Tile::kBlocks>;
  using Rows::m_, Rows::part_, Rows::sum_;

  static constexpr float kMost = 8.807354922f;  // log2(448), the largest e4m3
  // In log2 units: how far below that the largest score lies for which a reference moved, before rounding; and how far
  // below the reference all keys of a step must lie for it to fall.
  static constexpr float kHeadroom = 5.f, kSink = 3.f;

  __device__ __forceinline__ uint32_t highest(int b, int h) const { return highest_ + (16 * b + 8 * h) * 4; }

  static __device__ __forceinline__ float offset(float multiplier) { return -Policy::kScoreOffset * multiplier; }

  // This lane's largest score of a row, in log2 units; -inf if all are masked. NaN counts for nothing here: it stays in
  // P.
  static __device__ __forceinline__ float largest(const Scores& x, int b, int h) {
    float top = -kInfinity;
#pragma unroll
    for (int g = 0; g < kGroups; g++) {
      const float multiplier = x.multiplier[g][b][h];
      const float y = fmaf(Policy::largest(x, g, b, h), multiplier, offset(multiplier));
      top = g == 0 ? y : fmaxf(top, y);
    }
    return top;
  }

  // Moves the references of rows whose scores don't fit, or all lie far below.
  template <class Rescale>
  __device__ __forceinline__ void move(const float (&y)[kBlocks][2], const Rescale& rescale) {
    const float negligible = -(__log2f(static_cast<float>(args_.lk)) + 8.f);
#pragma unroll
    for (int b = 0; b < kBlocks; b++) {
#pragma unroll
      for (int h = 0; h < 2; h++) {
        float top = fmaxf(y[b][h], __shfl_xor_sync(kFullWarp, y[b][h], 1));
        top = fmaxf(top, __shfl_xor_sync(kFullWarp, top, 2));
        __syncwarp();
        const float before = ptx::load_shared(highest(b, h)), m = m_[b][h];
        const bool falls = top < m - kSink && top > before + negligible;
        const bool moves = falls || top > m + kMost;
        const float moved = moves ? ceilf(top - kMost + kHeadroom) : m;
        const float alpha = moves ? ptx::ex2_approx_ftz(m - moved) : 1.f;
        m_[b][h] = moved;
        sum_[b][h] *= alpha;
        rescale(b, h, alpha);
        __syncwarp();
        if (moves && threadIdx.x % 4 == 0) ptx::store_shared(highest(b, h), fmaxf(before, moved));
      }
    }
  }

  __device__ __forceinline__ void exponentiate(const Scores& x, Fragments& p) {
    using Half = Element<DType::kFloat16>;
#pragma unroll
    for (int b = 0; b < kBlocks; b++) {
#pragma unroll
      for (int h = 0; h < 2; h++) {
        __half2 part;
#pragma unroll
        for (int i = 0; i < 2 * kGroups; i++) {  // 16 keys of the row
          const float multiplier = x.multiplier[i / 2][b][h], addend = offset(multiplier) - m_[b][h];
          float e[4];
#pragma unroll
          for (int n = 0; n < 4; n++) {
            const float s = __uint_as_float(x.s[b][2 * i + n / 2][2 * h + n % 2]);
            e[n] = ptx::ex2_approx_ftz(fmaf(s, multiplier, addend));
          }
          const uint32_t codes = ptx::pack_e4m3x4(e[0], e[1], e[2], e[3]);
          p[b][i / 2][2 * (i % 2) + h] = codes;
          const __half2 four = __hadd2(Half::two(ptx::unpack_e4m3x2(static_cast<uint16_t>(codes))),
                                       Half::two(ptx::unpack_e4m3x2(static_cast<uint16_t>(codes >> 16))));
          part = i == 0 ? four : __hadd2(part, four);
        }
        const float2 two = __half22float2(part);
        part_[b][h] = two.x + two.y;
      }
    }
  }

  const AttentionArgs& args_;
  uint32_t highest_;  // of this lane's first row
};

}  // namespace attn4j
