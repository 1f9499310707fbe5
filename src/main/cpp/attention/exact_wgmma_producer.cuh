// The producer warp of the exact Hopper kernel: keeps the rings of K and V tiles and the Q buffers filled.
#pragma once

#include "attention/exact_wgmma_tile.cuh"

namespace attn4j {

template <class Tile>
class ExactProducer {
 public:
  __device__ __forceinline__ ExactProducer(const ExactParams& params, const ExactShared<Tile>& shared)
      : params_(params), shared_(shared) {}

  __device__ __forceinline__ void run() {
    RingIndex<Tile::kQueryBuffers> q;
    for (WorkCursor cursor(params_.plan); cursor.valid(); cursor.advance()) {
      const WorkBlock w = WorkBlock::at<Tile::kRows, Tile::kKeys>(cursor, params_.args);
      const int kv_head = w.head / params_.args.group;
      // From the last tile to the first: the ragged and the diagonal tiles come first, where consumers mask.
      for (int j = w.tiles - 1; j >= 0; j--) {
        const ptx::BoxOrigin at{0, j * Tile::kKeys, kv_head, w.batch};
        ptx::mbarrier_wait(shared_.k_empty(ring_.slot), ring_.parity ^ 1);
        load<Tile::kKeys>(params_.k_map, shared_.k(ring_.slot), at, shared_.k_full(ring_.slot));
        if (j == w.tiles - 1) {
          ptx::mbarrier_wait(shared_.q_empty(q.slot), q.parity ^ 1);
          load<Tile::kRows>(params_.q_map, shared_.q(q.slot), {0, w.first_row, w.head, w.batch},
                            shared_.q_full(q.slot));
          q.advance();
        }
        ptx::mbarrier_wait(shared_.v_empty(ring_.slot), ring_.parity ^ 1);
        if (w.kv_length < max(params_.args.lk, 1) && at.row + Tile::kKeys > w.kv_length) {
          load_values_cleaned(at, max(0, w.kv_length - at.row));
        } else {
          load<Tile::kKeys>(params_.v_map, shared_.v(ring_.slot), at, shared_.v_full(ring_.slot));
        }
        ring_.advance();
      }
    }
  }

 private:
  template <int kRows>
  __device__ __forceinline__ void load(const CUtensorMap& map, uint32_t destination, ptx::BoxOrigin at,
                                       uint32_t barrier) const {
    if (threadIdx.x != 0) return;
    ptx::mbarrier_arrive_expect_tx(barrier, kRows * Tile::kD * 2);
#pragma unroll
    for (int box = 0; box < Tile::kBoxes; box++) {
      at.channel = box * Tile::kBoxChannels;
      ptx::tma_load_box(destination + box * kRows * Tile::kSwizzleBytes, map, at, barrier);
    }
  }

  // Rows of V behind kv_length hold anything, NaN included, and 0 * NaN is NaN: zeros replace them.
  __device__ __forceinline__ void load_values_cleaned(const ptx::BoxOrigin& at, int valid_rows) {
    load<Tile::kKeys>(params_.v_map, shared_.v(ring_.slot), at, shared_.v_raw());
    ptx::mbarrier_wait(shared_.v_raw(), raw_parity_);
    raw_parity_ ^= 1;
    constexpr int kPieces = Tile::kSwizzleBytes / 16;  // per row: the swizzle moves pieces inside their row only
#pragma unroll 1
    for (int box = 0; box < Tile::kBoxes; box++) {
      const uint32_t rows = shared_.v(ring_.slot) + box * Tile::kKeys * Tile::kSwizzleBytes;
#pragma unroll 1
      for (int i = valid_rows * kPieces + threadIdx.x; i < Tile::kKeys * kPieces; i += 32) {
        *shared_.piece(rows + 16 * i) = make_uint4(0u, 0u, 0u, 0u);
      }
    }
    ptx::fence_proxy_async_shared();
    __syncwarp();
    if (threadIdx.x == 0) ptx::mbarrier_arrive(shared_.v_full(ring_.slot));
  }

  const ExactParams& params_;
  const ExactShared<Tile>& shared_;
  RingIndex<Tile::kStages> ring_;
  uint32_t raw_parity_ = 0;
};

}  // namespace attn4j
