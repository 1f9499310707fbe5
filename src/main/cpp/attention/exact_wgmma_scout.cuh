// The three idle warps of the producer's warpgroup look ahead for values that are not finite (nonfinite.cuh), so that
// the consumers need not look at what they compute.
#pragma once

#include "attention/exact_wgmma_tile.cuh"

namespace attn4j {

template <class Tile>
class TileScout {
 public:
  static constexpr int kThreads = 96;
  static constexpr int kBarrier = 7, kBarrierThreads = kThreads + 128 * Tile::kWarpgroups;

  // Whether anything can go wrong at all: keys that share a scale share what spoils it. A value of V that some rows of
  // a tile see reaches all of them, behind a causal mask alone: the producer clears what lies behind kv_length.
  static __device__ __forceinline__ bool needed(const ExactParams& params) {
    return Tile::kSharesScales || params.args.causal_offset != kNotCausal;
  }

  __device__ __forceinline__ TileScout(const ExactParams& params, const TileShared<Tile>& shared)
      : params_(params), shared_(shared), thread_(threadIdx.x - 32) {}

  // Leaves the answer where the consumers find it behind the barrier.
  __device__ __forceinline__ void run() const {
    bool finite = true;
#pragma unroll 1
    for (WorkCursor cursor(params_.plan); finite && cursor.valid(); cursor.advance()) {
      const WorkBlock w = WorkBlock::at<Tile>(cursor, params_.args);
      const int batch = w.flat_head / params_.args.heads_q, head = w.flat_head - batch * params_.args.heads_q;
      const int kv_head = head / params_.args.group;
      if constexpr (Tile::kSharesScales) finite = scales_are_finite(w, batch, kv_head);
      if (params_.args.causal_offset != kNotCausal) finite &= values_are_finite(w, batch, kv_head);
    }
    __syncwarp();
    if (!finite) atomicOr(shared_.template pointer<uint32_t>(shared_.suspect()), 1u);
    __syncwarp();
    ptx::named_barrier_arrive(kBarrier, kBarrierThreads);
  }

  // A consumer's end: whether it has to look at its rows.
  static __device__ __forceinline__ bool found(const TileShared<Tile>& shared) {
    ptx::named_barrier_sync(kBarrier, kBarrierThreads);
    return *shared.template pointer<uint32_t>(shared.suspect()) != 0;
  }

 private:
  // Those keys of the block's last tiles that not all of its rows see.
  __device__ __forceinline__ bool values_are_finite(const WorkBlock& w, int batch, int kv_head) const {
    const AttentionArgs& args = params_.args;
    const int first = max(0, w.first_row + args.causal_offset + 1), end = min(w.kv_length, w.tiles * Tile::kKeys);
    const int pieces = (args.head_dim + 7) / 8, total = max(0, end - first) * pieces;
    const auto* v = static_cast<const uint16_t*>(args.v) + batch * args.v_stride.batch + kv_head * args.v_stride.head;
    bool finite = true;
    // Loads in flight: what registers allow.
    constexpr int kAtOnce = Tile::kProducerRegisters < 40 ? 1 : Tile::kSharesScales ? 2 : 4;
#pragma unroll kAtOnce
    for (int i = thread_; i < total; i += kThreads) {
      const int row = i / pieces;
      const uint4 x = *reinterpret_cast<const uint4*>(v + (first + row) * args.v_stride.row + 8 * (i - row * pieces));
      finite &= are_finite(x.x) && are_finite(x.y) && are_finite(x.z) && are_finite(x.w);
    }
    return finite;
  }

  static __device__ __forceinline__ bool are_finite(uint32_t two) {
    return Element<Tile::kType>::is_finite(static_cast<uint16_t>(two)) &&
           Element<Tile::kType>::is_finite(static_cast<uint16_t>(two >> 16));
  }

  __device__ __forceinline__ bool scales_are_finite(const WorkBlock& w, int batch, int kv_head) const {
    const AttentionArgs& args = params_.args;
    const int keys = min(w.tiles * Tile::kKeys, args.lk_padded), rows = min(Tile::kRows, args.lq_padded - w.first_row);
    const float* k = args.k_scale + (static_cast<int64_t>(batch) * args.heads_kv + kv_head) * (args.lk_padded / 8);
    const float* q = args.q_scale + static_cast<int64_t>(w.flat_head) * args.lq_padded + w.first_row;
    return are_finite(k, keys / 8) && are_finite(q, rows);
  }

  __device__ __forceinline__ bool are_finite(const float* x, int count) const {
    bool finite = true;
#pragma unroll 4
    for (int i = thread_; i < count; i += kThreads) finite &= fabsf(x[i]) < kInfinity;
    return finite;
  }

  const ExactParams& params_;
  const TileShared<Tile>& shared_;
  const int thread_;
};

}  // namespace attn4j
