// Scores of INT8 Q and K for a consumer warpgroup of the Hopper kernels with 16-bit V, from images that the pre-pass
// wrote (quant/int8.cu): values in core-matrix order, a scale per query and one per (32 keys, thread of a quad).
//
// Register layout as in exact_scores.cuh: the 8 keys of a thread in a group of 32, {32g + 8i + 2t + e}, share a
// scale, so the maximum of a group is taken on integers and the exponent is one conversion and one multiply-add.
#pragma once

#include <climits>

#include "attention/f16_wgmma/tile.cuh"
#include "device/ptx/bulk_copy.cuh"
#include "device/ptx/wgmma_s8.cuh"

namespace attn4j {

template <class Tile>
class Int8Scores;
template <class Tile>
struct Int8Source;

template <int kD_, DType kType_, int kWarpgroups_, int kKeys_, int kStages_, int kQueryBuffers_,
          Softmax kSoftmax = Softmax::kFree>
struct Int8Tile : TileShape<kD_, kType_, kWarpgroups_, kKeys_, kStages_, kQueryBuffers_> {
  using Scores = Int8Scores<Int8Tile>;
  using Source = Int8Source<Int8Tile>;
  static constexpr bool kHoldSoftmax = kSoftmax == Softmax::kHeld;
  static constexpr bool kQueriesInRegisters = false, kSharesScales = true;
  static constexpr int kQBytes = 64 * kWarpgroups_ * kD_, kKBytes = kKeys_ * kD_;
  static constexpr int kGroups = kKeys_ / 32;
  static constexpr int kScaleBytes = kGroups * 16;  // of a K tile: [group][thread of a quad]
  static_assert(kKeys_ % 32 == 0);
};

// Where Q and K come from: contiguous pieces of the images.
template <class Tile>
struct Int8Source {
  static __device__ __forceinline__ void prefetch_maps(const ExactParams&) {}
  static __device__ __forceinline__ void load_queries(const ExactParams& params, const TileShared<Tile>& shared,
                                                      int buffer, const ptx::BoxOrigin& at) {
    if (threadIdx.x != 0) return;
    const AttentionArgs& args = params.args;
    const int64_t head = static_cast<int64_t>(at.batch) * args.heads_q + at.head;
    const int row = min(at.row, args.lq_padded - Tile::kRows);  // a block behind the last query reads any other
    ptx::mbarrier_arrive_expect_tx(shared.q_full(buffer), Tile::kQBytes);
    ptx::bulk_copy_to_shared(shared.q(buffer), args.q_image + (head * args.lq_padded + row) * Tile::kD, Tile::kQBytes,
                             shared.q_full(buffer));
  }

  static __device__ __forceinline__ void load_keys(const ExactParams& params, const TileShared<Tile>& shared, int stage,
                                                   const ptx::BoxOrigin& at) {
    if (threadIdx.x != 0) return;
    const AttentionArgs& args = params.args;
    if (args.lk == 0) {  // all scores are masked
      ptx::mbarrier_arrive(shared.k_full(stage));
      return;
    }
    const int64_t first_key = (static_cast<int64_t>(at.batch) * args.heads_kv + at.head) * args.lk_padded + at.row;
    ptx::mbarrier_arrive_expect_tx(shared.k_full(stage), Tile::kKBytes + Tile::kScaleBytes);
    ptx::bulk_copy_to_shared(shared.k(stage), args.k_image + first_key * Tile::kD, Tile::kKBytes, shared.k_full(stage));
    ptx::bulk_copy_to_shared(shared.k_scale(stage), args.k_scale + first_key / 8, Tile::kScaleBytes,
                             shared.k_full(stage));
  }
};

template <class Tile>
class Int8Scores {
 public:
  static constexpr bool kReadsStage = true;
  static constexpr int kCount = Tile::kKeys / 2;

  __device__ __forceinline__ Int8Scores(const ExactParams& params, const TileShared<Tile>& shared)
      : params_(params), shared_(shared) {}

  __device__ __forceinline__ void prepare_queries(int) {}

  __device__ __forceinline__ void enter_block(const WorkBlock& block, int row) {
    const AttentionArgs& args = params_.args;
    const float* scale = args.q_scale + static_cast<int64_t>(block.flat_head) * args.lq_padded;
#pragma unroll
    for (int h = 0; h < 2; h++) q_scale_[h] = scale[min(row + 8 * h, args.lq_padded - 1)];
  }

  __device__ __forceinline__ void issue(int buffer, int stage) {
    using Mma = ptx::WgmmaS8<Tile::kKeys>;
    const uint32_t rows = shared_.q(buffer) + (threadIdx.x / 128 - 1) * 64 * Tile::kD;
    const uint64_t q = ptx::wgmma_descriptor(rows, 128, 8 * Tile::kD);
    const uint64_t k = ptx::wgmma_descriptor(shared_.k(stage), 128, 8 * Tile::kD);
    ptx::wgmma_fence();
#pragma unroll
    for (int c = 0; c < Tile::kD / 32; c++) {  // 32 channels are two core matrices: 256 bytes, in units of 16
      if (c == 0)
        Mma::ss_first(scores_, q, k);
      else
        Mma::ss(scores_, q + 16 * c, k + 16 * c);
    }
    ptx::wgmma_commit_group();
  }

  __device__ __forceinline__ void complete(int stage) {
    ptx::wgmma_pin<kCount>(scores_);
    const float* scale = shared_.template pointer<float>(shared_.k_scale(stage)) + threadIdx.x % 4;
#pragma unroll
    for (int g = 0; g < Tile::kGroups; g++) k_scale_[g] = scale[4 * g];
    __syncwarp();  // all lanes have read before one of them gives the stage back
  }

  __device__ __forceinline__ void mask(const int (&end)[2]) {
#pragma unroll
    for (int i = 0; i < kCount; i++) {
      if (8 * (i / 4) + i % 2 >= end[i % 4 / 2]) scores_[i] = kMasked;
    }
  }

  __device__ __forceinline__ float maximum(int h) const {
    float x = -kInfinity;
#pragma unroll
    for (int g = 0; g < Tile::kGroups; g++) {
      const int32_t* s = scores_ + 16 * g + 2 * h;
      int32_t largest = max(s[0], s[1]);
#pragma unroll
      for (int i = 4; i < 16; i += 4) largest = __vimax3_s32(largest, s[i], s[i + 1]);
      x = fmaxf(x, __int2float_rn(largest) * k_scale_[g]);
    }
    return x * q_scale_[h];
  }

  template <bool kMaskedTile>
  __device__ __forceinline__ void exponentiate(const float (&reference)[2], float (&sum)[2]) {
    sum[0] = sum[1] = 0.f;
#pragma unroll
    for (int i = 0; i < kCount; i++) {
      const int h = i % 4 / 2;
      const float x = fmaf(__int2float_rn(scores_[i]), q_scale_[h] * k_scale_[i / 16], -reference[h]);
      // A masked score counts nothing, however small the scales are.
      const float p = kMaskedTile && scores_[i] == kMasked ? 0.f : ptx::ex2_approx_ftz(x);
      sum[h] += p;
      scores_[i] = __float_as_int(p);
    }
  }

  __device__ __forceinline__ float probability(int i) const { return __int_as_float(scores_[i]); }

  // K was shifted by its mean: q . mean(k), the second half of q_scale.
  __device__ __forceinline__ float lse_correction(int flat_head, int row) const {
    const AttentionArgs& args = params_.args;
    const int64_t heads = static_cast<int64_t>(args.batch) * args.heads_q;
    return args.q_scale[(heads + flat_head) * args.lq_padded + row];
  }

 private:
  static constexpr int32_t kMasked = INT32_MIN;  // products of at most 127 * 127 * 128 never reach it

  const ExactParams& params_;
  const TileShared<Tile>& shared_;
  int32_t scores_[kCount];
  float q_scale_[2], k_scale_[Tile::kGroups];
};

}  // namespace attn4j
