// Packed sequences on the kernels of mma/core.cuh: a CTA finds its sequence by the offsets, and works on it as on a
// call of its own.
#pragma once

#include "attention/mma/core.cuh"

namespace attn4j {

// The walk of dense attention within a sequence. Tiles of queries are counted over all sequences, per head.
template <class Tile>
class PackedTiles : public AllTiles {
 public:
  static constexpr bool kPacked = true;
  static constexpr bool kDivides = false;  // no item's keys are divided between CTAs
  using AllTiles::AllTiles;

  // Tiles of a head, enough for any lengths: each sequence may end in one of its own.
  static ATTN4J_HOST_DEVICE int tiles_per_head(const AttentionArgs& args) {
    return args.lq / Tile::kRows + args.packed.count;
  }

  static int items(const AttentionArgs& args, int) { return tiles_per_head(args) * args.heads_q; }

  // The call that the CTA works on, in shared memory; without queries if there are fewer tiles than CTAs.
  static __device__ __forceinline__ const AttentionArgs& arguments(const AttentionArgs& all) {
    __shared__ AttentionArgs call;
    const int per_head = tiles_per_head(all), head = static_cast<int>(blockIdx.x) / per_head;
    if (threadIdx.x < 32) {
      const Place place = find(all, static_cast<int>(blockIdx.x) - head * per_head);
      if (threadIdx.x == 0) {
        call = all;
        enter(call, head, place);
        index() = head * ((call.lq + Tile::kRows - 1) / Tile::kRows) + place.tile;
      }
    }
    __syncthreads();
    return call;
  }
  static __device__ __forceinline__ unsigned cta() { return index(); }

 private:
  struct Place {
    int sequence, tile;  // -1: there is none; of the sequence
  };

  // Of the sequence's tiles of all heads.
  static __device__ __forceinline__ int& index() {
    __shared__ int index;
    return index;
  }

  // A sequence's first row, and how many it has.
  static __device__ __forceinline__ int2 rows_of(const int32_t* offsets, int sequence, int rows) {
    const int first = min(max(offsets[sequence], 0), rows), end = min(max(offsets[sequence + 1], first), rows);
    return make_int2(first, end - first);
  }

  // By one warp, 32 sequences at a time.
  static __device__ __forceinline__ Place find(const AttentionArgs& all, int tile) {
    const int lane = threadIdx.x;
#pragma unroll 1
    for (int base = 0; base < all.packed.count; base += 32) {
      const int sequence = base + lane;
      const int rows = sequence < all.packed.count ? rows_of(all.packed.q, sequence, all.lq).y : 0;
      const int own = (rows + Tile::kRows - 1) / Tile::kRows;
      int end = own;  // tiles up to this lane's last
#pragma unroll
      for (int o = 1; o < 32; o <<= 1) {
        const int before = __shfl_up_sync(kFullWarp, end, o);
        if (lane >= o) end += before;
      }
      const uint32_t reached = __ballot_sync(kFullWarp, tile < end);
      if (reached != 0) {
        const int first = 32 - __popc(reached);  // those behind it reach it too
        return {base + first, tile - __shfl_sync(kFullWarp, end - own, first)};
      }
      tile -= __shfl_sync(kFullWarp, end, 31);
    }
    return {-1, 0};
  }

  // Makes the call one of a single sequence. A head of lse has the rows of all; the CTA writes one head.
  static __device__ __forceinline__ void enter(AttentionArgs& call, int head, const Place& place) {
    const int all_rows = call.lq;
    int2 q = make_int2(0, 0), k = q;
    if (place.sequence >= 0) {
      q = rows_of(call.packed.q, place.sequence, call.lq), k = rows_of(call.packed.k, place.sequence, call.lk);
    }
    call.q = static_cast<const uint16_t*>(call.q) + q.x * call.q_stride.row;
    call.o = static_cast<uint16_t*>(call.o) + q.x * call.o_stride.row;
    call.k = static_cast<const uint16_t*>(call.k) + k.x * call.k_stride.row;
    call.v = static_cast<const uint16_t*>(call.v) + k.x * call.v_stride.row;
    if (call.lse != nullptr) call.lse += static_cast<int64_t>(head) * (all_rows - q.y) + q.x;
    call.lq = q.y, call.lk = k.y;
    if (call.causal_offset != kNotCausal) call.causal_offset = call.packed.bottom_right ? k.y - q.y : 0;
  }
};

template <class Policy>
cudaError_t launch_attend_packed(const AttentionArgs& args, cudaStream_t stream) {
  using Walk = PackedTiles<typename Policy::Tile>;
  return Walk::items(args, 0) == 0 ? cudaSuccess : launch_attend_mma<Policy, Walk>(args, stream);
}

}  // namespace attn4j
