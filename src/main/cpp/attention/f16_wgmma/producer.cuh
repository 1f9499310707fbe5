// The producer warp of the Hopper kernels with 16-bit V: keeps the rings of K and V tiles and the Q buffers filled.
#pragma once

#include "attention/f16_wgmma/tile.cuh"

namespace attn4j {

// Starts the copy of a tile of kRows rows in boxes.
template <class Tile, int kRows>
__device__ __forceinline__ void load_boxes(const CUtensorMap& map, uint32_t destination, ptx::BoxOrigin at,
                                           uint32_t barrier) {
  if (threadIdx.x != 0) return;
  ptx::mbarrier_arrive_expect_tx(barrier, kRows * Tile::kD * 2);
#pragma unroll
  for (int box = 0; box < Tile::kBoxes; box++) {
    at.channel = box * Tile::kBoxChannels;
    ptx::tma_load_box(destination + box * kRows * Tile::kSwizzleBytes, map, at, barrier);
  }
}

// Where Q and K come from: strided 16-bit tensors.
template <class Tile>
struct ExactSource {
  static __device__ __forceinline__ void prefetch_maps(const ExactParams& params) {
    ptx::tma_prefetch_map(params.q_map);
    ptx::tma_prefetch_map(params.k_map);
  }
  static __device__ __forceinline__ void load_queries(const ExactParams& params, const TileShared<Tile>& shared,
                                                      int buffer, const ptx::BoxOrigin& at) {
    load_boxes<Tile, Tile::kRows>(params.q_map, shared.q(buffer), at, shared.q_full(buffer));
  }
  static __device__ __forceinline__ void load_keys(const ExactParams& params, const TileShared<Tile>& shared, int stage,
                                                   const ptx::BoxOrigin& at) {
    load_boxes<Tile, Tile::kKeys>(params.k_map, shared.k(stage), at, shared.k_full(stage));
  }
};

template <class Tile>
class TileProducer {
 public:
  __device__ __forceinline__ TileProducer(const ExactParams& params, const TileShared<Tile>& shared)
      : params_(params), shared_(shared) {}

  __device__ __forceinline__ void run() {
    for (WorkCursor cursor(params_.plan); cursor.valid(); cursor.advance()) {
      const WorkBlock w = WorkBlock::at<Tile>(cursor, params_.args);
      const int batch = w.flat_head / params_.args.heads_q, head = w.flat_head - batch * params_.args.heads_q;
      const int kv_head = head / params_.args.group;
      // From the last tile to the first: the ragged tile and the diagonal come first, where consumers mask.
      for (int j = w.tiles - 1; j >= 0; j--) {
        const ptx::BoxOrigin at{0, j * Tile::kKeys, kv_head, batch};
        ptx::mbarrier_wait(shared_.k_empty(kv_.slot), kv_.parity ^ 1);
        Tile::Source::load_keys(params_, shared_, kv_.slot, at);
        if (j == w.tiles - 1) load_queries({0, w.first_row, head, batch});
        ptx::mbarrier_wait(shared_.v_empty(kv_.slot), kv_.parity ^ 1);
        if (w.kv_length < max(params_.args.lk, 1) && at.row + Tile::kKeys > w.kv_length) {
          load_values_cleaned(at, max(0, w.kv_length - at.row));
        } else {
          load_boxes<Tile, Tile::kKeys>(params_.v_map, shared_.v(kv_.slot), at, shared_.v_full(kv_.slot));
        }
        kv_.advance();
      }
    }
  }

 private:
  __device__ __forceinline__ void load_queries(const ptx::BoxOrigin& at) {
    ptx::mbarrier_wait(shared_.q_empty(q_.slot), q_.parity ^ 1);
    Tile::Source::load_queries(params_, shared_, q_.slot, at);
    q_.advance();
  }

  // Rows of V behind kv_length hold anything, NaN included, and 0 * NaN is NaN: zeros replace them.
  __device__ __forceinline__ void load_values_cleaned(const ptx::BoxOrigin& at, int valid_rows) {
    load_boxes<Tile, Tile::kKeys>(params_.v_map, shared_.v(kv_.slot), at, shared_.v_raw());
    ptx::mbarrier_wait(shared_.v_raw(), raw_parity_);
    raw_parity_ ^= 1;
    constexpr int kPieces = Tile::kSwizzleBytes / 16;  // per row: the swizzle moves pieces inside their row only
#pragma unroll 1
    for (int box = 0; box < Tile::kBoxes; box++) {
      const uint32_t rows = shared_.v(kv_.slot) + box * Tile::kKeys * Tile::kSwizzleBytes;
#pragma unroll 1
      for (int i = valid_rows * kPieces + threadIdx.x; i < Tile::kKeys * kPieces; i += 32) {
        *shared_.template pointer<uint4>(rows + 16 * i) = make_uint4(0u, 0u, 0u, 0u);
      }
    }
    ptx::fence_proxy_async_shared();
    __syncwarp();
    if (threadIdx.x == 0) ptx::mbarrier_arrive(shared_.v_full(kv_.slot));
  }

  const ExactParams& params_;
  const TileShared<Tile>& shared_;
  RingIndex<Tile::kStages> kv_;
  RingIndex<Tile::kQueryBuffers> q_;
  uint32_t raw_parity_ = 0;
};

}  // namespace attn4j
