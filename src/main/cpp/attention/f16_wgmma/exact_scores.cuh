// Scores of 16-bit Q and K for a consumer warpgroup: S = Q * K^T in wgmma accumulators, then probabilities in their
// place.
//
// Accumulator register 4n + 2h + e belongs to the thread's row h (lane / 4 or 8 further) and column 8n + 2 * (lane % 4)
// + e of the tile. A scores policy has the members that are public here; f16_wgmma/int8_scores.cuh is the other one.
#pragma once

#include "attention/f16_wgmma/tile.cuh"

namespace attn4j {

template <class Tile>
class ExactScores {
 public:
  static constexpr bool kReadsStage = false;  // `complete` reads something of the stage of K
  static constexpr int kCount = Tile::kKeys / 2;

  __device__ __forceinline__ ExactScores(const ExactParams& params, const TileShared<Tile>& shared)
      : params_(params), shared_(shared) {}

  // Q has arrived in a buffer.
  __device__ __forceinline__ void prepare_queries(int buffer) {
    if (params_.args.q_sign < 0.f) negate_queries(buffer);
    if constexpr (Tile::kQueriesInRegisters) load_queries(buffer);
  }

  // The block whose scores come next has been located.
  __device__ __forceinline__ void enter_block(const WorkBlock&, int) {}

  // Starts S = Q * K^T.
  __device__ __forceinline__ void issue(int buffer, int stage) {
    using Mma = typename Tile::template Mma<Tile::kKeys>;
    constexpr int kStepsPerBox = Tile::kBoxChannels / 16;
    const uint64_t q = Tile::box_descriptor(query_rows(buffer), Tile::kRows);
    const uint64_t k = Tile::box_descriptor(shared_.k(stage), Tile::kKeys);
    ptx::wgmma_fence();
#pragma unroll
    for (int c = 0; c < Tile::kD / 16; c++) {
      const int box = c / kStepsPerBox, inside = c % kStepsPerBox * 32;
      const uint64_t b = k + (box * Tile::kKeys * Tile::kSwizzleBytes + inside) / 16;
      if constexpr (Tile::kQueriesInRegisters) {
        if (c == 0)
          Mma::template rs_first<0>(scores_, queries_, b);
        else
          Mma::template rs<0>(scores_, queries_ + 4 * c, b);
      } else {
        const uint64_t a = q + (box * Tile::kRows * Tile::kSwizzleBytes + inside) / 16;
        if (c == 0)
          Mma::template ss_first<0>(scores_, a, b);
        else
          Mma::template ss<0>(scores_, a, b);
      }
    }
    ptx::wgmma_commit_group();
  }

  // S is complete; what else the stage of K holds is read here.
  __device__ __forceinline__ void complete(int) { ptx::wgmma_pin<kCount>(scores_); }

  // Row h of this thread sees the columns before end[h], which is relative to the thread's first column.
  __device__ __forceinline__ void mask(const int (&end)[2]) {
#pragma unroll
    for (int i = 0; i < kCount; i++) {
      if (8 * (i / 4) + i % 2 >= end[i % 4 / 2]) scores_[i] = -kInfinity;
    }
  }

  // Maximum of this thread's scores of row h, in log2 units.
  __device__ __forceinline__ float maximum(int h) const {
    float x = fmaxf(scores_[2 * h], scores_[2 * h + 1]);
#pragma unroll
    for (int i = 4; i < kCount; i += 4) x = fmaxf(x, fmaxf(scores_[i + 2 * h], scores_[i + 2 * h + 1]));
    return x * params_.args.scale_log2;
  }

  // Scores become probabilities; their sums are returned.
  template <bool kMasked>
  __device__ __forceinline__ void exponentiate(const float (&reference)[2], float (&sum)[2]) {
    sum[0] = sum[1] = 0.f;
#pragma unroll
    for (int i = 0; i < kCount; i++) {
      const int h = i % 4 / 2;
      scores_[i] = ptx::ex2_approx_ftz(fmaf(scores_[i], params_.args.scale_log2, -reference[h]));
      sum[h] += scores_[i];
    }
  }

  __device__ __forceinline__ float probability(int i) const { return scores_[i]; }

  // What the LSE of a row needs besides reference and sum, in log2 units.
  __device__ __forceinline__ float lse_correction(int, int) const { return 0.f; }

 private:
  // This warpgroup's rows of the first box.
  __device__ __forceinline__ uint32_t query_rows(int buffer) const {
    return shared_.q(buffer) + (threadIdx.x / 128 - 1) * 64 * Tile::kSwizzleBytes;
  }

  // Maxima need a positive scale: the sign of a negative one goes to Q.
  __device__ __forceinline__ void negate_queries(int buffer) const {
    constexpr uint32_t kSigns = 0x80008000u;
    constexpr int kPieces = 64 * Tile::kSwizzleBytes / 16;  // of this warpgroup, per box
    constexpr int kFirstBarrier = 8;
#pragma unroll 1
    for (int i = threadIdx.x % 128; i < Tile::kBoxes * kPieces; i += 128) {
      uint4* x = shared_.template pointer<uint4>(query_rows(buffer) + i / kPieces * Tile::kRows * Tile::kSwizzleBytes +
                                                 i % kPieces * 16);
      *x = make_uint4(x->x ^ kSigns, x->y ^ kSigns, x->z ^ kSigns, x->w ^ kSigns);
    }
    ptx::fence_proxy_async_shared();
    ptx::named_barrier_sync(kFirstBarrier + threadIdx.x / 128, 128);
  }

  // The A fragments of all multiples of 16 channels.
  __device__ __forceinline__ void load_queries(int buffer) {
    constexpr int kStepsPerBox = Tile::kBoxChannels / 16;
    const int lane = threadIdx.x % 32, row = threadIdx.x % 128 / 32 * 16 + lane % 16;
    const int swizzle = Tile::kSwizzleBytes == 128 ? row % 8 : row / 2 % 4;
#pragma unroll
    for (int c = 0; c < Tile::kD / 16; c++) {
      const int piece = (c % kStepsPerBox * 2 + lane / 16) ^ swizzle;
      uint32_t r[4];
      ptx::ldmatrix_x4(r,
                       query_rows(buffer) + (c / kStepsPerBox * Tile::kRows + row) * Tile::kSwizzleBytes + piece * 16);
#pragma unroll
      for (int i = 0; i < 4; i++) queries_[4 * c + i] = r[i];
    }
  }

  const ExactParams& params_;
  const TileShared<Tile>& shared_;
  float scores_[kCount];
  uint32_t queries_[Tile::kQueriesInRegisters ? Tile::kD / 4 : 1];
};

}  // namespace attn4j
