// SpargeAttn on mma.sync (arXiv:2502.18137): the INT8 kernel of mma/int8.cuh, walking over the key tiles of a list.
#pragma once

#include "attention/mma/int8.cuh"

namespace attn4j {

// The walk of block-sparse attention: the tiles of the CTA's list, and no P V where it would add next to nothing.
template <class Tile>
class ListedTiles {
 public:
  static constexpr bool kSkips = true;
  static constexpr bool kDivides = false;
  static constexpr bool kPacked = false;
  static __device__ __forceinline__ unsigned cta() { return blockIdx.x; }
  static int items(const AttentionArgs& args, int query_tiles) { return query_tiles * args.batch * args.heads_q; }

  static __device__ __forceinline__ int query_tile(const AttentionArgs& args, int head_index, int index,
                                                   int query_tiles) {
    return args.blocks.order[static_cast<int64_t>(head_index) * query_tiles + index];
  }

  __device__ __forceinline__ ListedTiles(const AttentionArgs& args, const WorkTile& w) {
    const BlockLists& blocks = args.blocks;
    const int query_tiles = (args.lq + Tile::kRows - 1) / Tile::kRows;
    const int64_t row =
        (static_cast<int64_t>(w.batch) * args.heads_q + w.head) * query_tiles + w.first_row / Tile::kRows;
    const int count = blocks.count[row];
    if (threadIdx.x % 32 == 0) {
      State& s = state();
      s.list = blocks.list + row * (args.lk_padded / Tile::kStageKeys);
      s.count = s.full_count = count;
      while (s.full_count > 0 && s.list[s.full_count - 1] >= w.full_tiles) s.full_count--;  // a few, at the end
      const float threshold = blocks.pv_thresholds != nullptr ? blocks.pv_thresholds[w.head] : blocks.pv_threshold;
      s.least_share = exp2f(kMmaRange.offset - threshold);
    }
    __syncwarp();
    ahead_ = at(1);
  }

  __device__ __forceinline__ int count() const { return ptx::again(state().count); }
  __device__ __forceinline__ int full_count() const { return ptx::again(state().full_count); }
  __device__ __forceinline__ int operator[](int j) const { return __ldg(state().list + j); }
  // Read one iteration early: with two CTAs per SM nothing else would hide the latency of the list.
  __device__ __forceinline__ int ahead(int j) {
    const int tile = ahead_;
    ahead_ = at(j + 1);
    return tile;
  }

  __device__ __forceinline__ VisitedBlocks visited() const { return {state().list, count(), Tile::kStageKeys}; }

  // P V of a step is skipped if all P are at most this. A reference lies at least kMmaRange.offset below the maximum so
  // far, so they are then at most 2^-threshold of it. Less is skipped than could be where a maximum has risen and its
  // reference has not; to ask for more would cost an instruction per score.
  __device__ __forceinline__ float least_share() const { return ptx::again(state().least_share); }

 private:
  // What is read once per tile or step lies in shared memory, one per warp: the registers are full, and would spill.
  struct State {
    const int32_t* list;
    int count, full_count;
    float least_share;
  };
  static __device__ __forceinline__ State& state() {
    __shared__ State states[Tile::kWarps];
    return states[threadIdx.x / 32];
  }
  __device__ __forceinline__ int at(int j) const { return j < count() ? __ldg(state().list + j) : 0; }

  int ahead_;  // tile of the next load
};

// As MmaInt8F16, and args.blocks must be there.
template <int kD, DType T>
struct SparseMmaInt8F16 {
  using Policy = Int8MmaPolicy<kD, T>;
  using Tile = typename Policy::Tile;
  static cudaError_t launch(const AttentionArgs& args, cudaStream_t stream) {
    return launch_attend_mma<Policy, ListedTiles<Tile>>(args, stream);
  }
  static KernelEntry entry(const char* name) {
    KernelEntry e = make_entry<kD, T>(name, Tile::kRows, Tile::kStageKeys, &launch);
    e.qk = Precision::kInt8;
    e.function = Function::kSparse;
    e.accumulator = PvAccumDType::kFp32;
    e.preparation = &kInt8Image;
    e.streams = Policy::kMinCtas;
    e.lists = int8_mma_list_cost<kD>();
    return e;
  }
};

}  // namespace attn4j
