// Exact attention on mma.sync with masks: mma/exact.cuh, whose scores meet the request's masks as soon as they are
// made. Each lane reads the mask's elements of its own scores. A kernel of its own, so that others have nothing of it.
//
// What is hidden is replaced, not added to: garbage in K stays out of the scores. Garbage in V behind hidden keys makes
// a row that is computed again, from the keys that it sees (attention/nonfinite.cuh).
#pragma once

#include "attention/mask_row.cuh"
#include "attention/mma/exact.cuh"
#include "attention/nonfinite.cuh"

namespace attn4j {

// As without masks, but for 64 channels, whose steps are half as long: 64 keys at a time leave no registers for masks.
template <int kD>
using MaskedExactTile = std::conditional_t<kD == 64, MmaTile<64, 2, 4, 32, 64, 32, QueryPlace::kRegisters, 0>,
                                           typename ExactMmaTile<kD>::type>;

template <int kD, DType T>
class MaskedExactPolicy : public ExactMmaPolicy<kD, T, MaskedExactTile<kD>> {
  using Base = ExactMmaPolicy<kD, T, MaskedExactTile<kD>>;

 public:
  using typename Base::Scores;
  using typename Base::Tile;

  __device__ __forceinline__ MaskedExactPolicy(const AttentionArgs& args, const WorkTile& w, uint32_t ring)
      : Base(args, w, ring), args_(args) {
    if (threadIdx.x == 0) state().batch = w.batch, state().head = w.head, state().first_row = w.first_row;
  }

  __device__ __forceinline__ void load_whole_tile(uint32_t slot, int tile, const WorkTile& shared) {
    note(slot, tile);
    Base::load_whole_tile(slot, tile, shared);
  }
  __device__ __forceinline__ void load_tile(uint32_t slot, int tile, const WorkTile& shared) {
    note(slot, tile);
    Base::load_tile(slot, tile, shared);
  }

  // Scores leave with the scale in them.
  static __device__ __forceinline__ uint32_t masked() { return kHidden; }

  __device__ __forceinline__ void make_scores(Scores& x, uint32_t slot, int step) const {
    Base::make_scores(x, slot, step);
    const int tile = ptx::again(state().tiles[slot == 0 ? 0 : 1]);
    const int key = tile * Tile::kStageKeys + step * Tile::kKeys + 2 * (threadIdx.x % 4);
#pragma unroll
    for (int b = 0; b < Tile::kBlocks; b++) {
#pragma unroll
      for (int h = 0; h < 2; h++) mask(x, b, h, key);
    }
#pragma unroll
    for (int g = 0; g < Scores::kGroups; g++) {
#pragma unroll
      for (int b = 0; b < Tile::kBlocks; b++) x.multiplier[g][b][0] = x.multiplier[g][b][1] = 1.f;
    }
  }

 private:
  static constexpr uint32_t kHidden = 0xff800000u;  // -inf

  // What is read once per row or step lies in shared memory: the registers are full, and would spill. A slot's tile is
  // written with the copies to the slot, and read like them behind a barrier.
  struct State {
    int batch, head, first_row;
    int tiles[2];
  };
  static __device__ __forceinline__ State& state() {
    __shared__ State state;
    return state;
  }
  static __device__ __forceinline__ void note(uint32_t slot, int tile) {
    if (threadIdx.x == 0) state().tiles[slot == 0 ? 0 : 1] = tile;
  }

  // The scores of one row. Rows and keys behind the ends are hidden elsewhere, and not read here.
  __device__ __forceinline__ void mask(Scores& x, int b, int h, int first_key) const {
    const State& at = state();
    const int warp_row = ptx::again(at.first_row) + static_cast<int>(threadIdx.x) / 32 * Tile::kWarpRows;
    const int index = min(warp_row + static_cast<int>(threadIdx.x) % 32 / 4 + 16 * b + 8 * h, args_.lq - 1);
    const MaskRow row(args_, ptx::again(at.batch), ptx::again(at.head), index);
#pragma unroll
    for (int n = 0; n < Tile::kKeys / 8; n++) {
#pragma unroll
      for (int e = 0; e < 2; e++) {
        uint32_t& bits = x.s[b][n][2 * h + e];
        float s = __uint_as_float(bits) * x.multiplier[n / 4][b][h];
        bits = row.add(min(first_key + 8 * n + e, args_.lk - 1), &s) ? __float_as_uint(s) : kHidden;
      }
    }
  }

  const AttentionArgs& args_;
};

// Rows that aren't finite are computed again with the masks: what a warp of mma/core.cuh asks for.
struct VisitedMasked {};
template <DType T, int kD>
__device__ __forceinline__ void repair_rows(const AttentionArgs& args, const RowRange& rows, const VisitedMasked&,
                                            int lane) {
  __syncwarp();
  const int end = min(rows.first + rows.count, args.lq);
#pragma unroll 1
  for (int row = rows.first; row < end; row++) {
    CarefulRow<T, kD, MaskRow> careful(args, rows.flat_head, row, lane);
    if (!careful.is_finite()) careful.compute({});
  }
}

// The tiles of keys that the window shows to a row of the CTA.
template <class Tile>
class MaskedTiles {
 public:
  static constexpr bool kSkips = false;
  static constexpr bool kDivides = false;
  static constexpr bool kPacked = false;
  static __device__ __forceinline__ unsigned cta() { return blockIdx.x; }
  static int items(const AttentionArgs& args, int query_tiles) { return query_tiles * args.batch * args.heads_q; }
  static __device__ __forceinline__ int query_tile(const AttentionArgs& args, int head, int index, int query_tiles) {
    return AllTiles::query_tile(args, head, index, query_tiles);
  }
  __device__ __forceinline__ MaskedTiles(const AttentionArgs& args, const WorkTile& w) {
    const WindowBounds& window = args.masks.window;
    const int last_row = min(w.first_row + Tile::kRows, args.lq) - 1;
    const int end = max(window.prefix, last_row + window.end);
    const int tiles = min(w.tiles, (max(end, 0) + Tile::kStageKeys - 1) / Tile::kStageKeys);
    first_ = window.prefix > 0 ? 0 : min(max(w.first_row + window.first, 0) / Tile::kStageKeys, tiles);
    count_ = tiles - first_;
    full_count_ = min(max(w.full_tiles - first_, 0), count_);
  }
  __device__ __forceinline__ int count() const { return count_; }
  __device__ __forceinline__ int full_count() const { return full_count_; }
  __device__ __forceinline__ int operator[](int j) const { return first_ + j; }
  __device__ __forceinline__ int ahead(int j) const { return first_ + j; }
  __device__ __forceinline__ VisitedMasked visited() const { return {}; }

 private:
  int first_, count_, full_count_;
};

template <int kD, DType T>
struct MaskedExactMma {
  using Policy = MaskedExactPolicy<kD, T>;
  static cudaError_t launch(const AttentionArgs& args, cudaStream_t stream) {
    return launch_attend_mma<Policy, MaskedTiles<typename Policy::Tile>>(args, stream);
  }
  static KernelEntry entry(const char* name) {
    KernelEntry e = make_entry<kD, T>(name, Policy::Tile::kRows, Policy::Tile::kStageKeys, &launch);
    e.function = Function::kExact;
    e.reads_masks = true;
    e.preparation = &kAlignedInputs;
    e.streams = Policy::kMinCtas;
    return e;
  }
};

}  // namespace attn4j
