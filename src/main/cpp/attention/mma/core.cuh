// Flash attention on mma.sync, for every architecture from sm_80 up: the loop and the epilogue that the INT8 kernel
// (mma/int8.cuh) and the exact kernel (mma/exact.cuh) share. They differ in a policy: how scores are made. Dense and
// block-sparse attention (mma/int8_sparse.cuh) differ in a walk: which tiles of keys a CTA visits.
//
// A CTA owns kRows queries of one head, a warp owns kWarpRows of them, and all walk over the keys in tiles of
// kStageKeys. K and V tiles arrive by cp.async in a ring of two slots; one __syncthreads per tile both publishes tile j
// and frees the slot of tile j - 1. A step of kKeys keys is scores, softmax (mma/softmax.cuh), P V, one after the
// other: the other warp of the scheduler fills the gaps, and interleaving inside a warp was slower. Scores,
// probabilities and the output accumulator stay in registers.
//
// What isn't finite spreads, and is looked for in the output: attention/nonfinite.cuh.
#pragma once

#include "attention/arguments.h"
#include "attention/launch.cuh"
#include "attention/mma/merge.cuh"
#include "attention/mma/softmax.cuh"
#include "attention/mma/tile.cuh"
#include "attention/mma/values.cuh"
#include "attention/nonfinite.cuh"
#include "device/launch.cuh"
#include "device/ptx/cp_async.cuh"
#include "device/ptx/ldmatrix.cuh"
#include "device/ptx/ordering.cuh"
#include "device/ptx/shared_access.cuh"

namespace attn4j {

// The output rows of one warp. Of a 16-row block and 8 channels, lane / 4 is the row of values 0 and 1, lane / 4 + 8
// that of 2 and 3, and 2 (lane % 4) the channel of values 0 and 2.
template <class Tile, DType T>
struct MmaOutput {
  using Lane = PanelLane<typename Tile::VTile>;
  float o[Tile::kBlocks][Tile::kD / 8][4] = {};

  // This lane's, for a tile at `smem`.
  static __device__ __forceinline__ Lane lane(uint32_t smem) {
    return Lane(smem, threadIdx.x & 15, threadIdx.x >> 4 & 1);
  }

  __device__ __forceinline__ void scale(int b, int h, float factor) {
#pragma unroll
    for (int i = 0; i < Tile::kD / 8; i++) o[b][i][2 * h] *= factor, o[b][i][2 * h + 1] *= factor;
  }

  // O += P V. `v` is the lane's address in the step's first key.
  __device__ __forceinline__ void add(const uint32_t (&p)[Tile::kBlocks][Tile::kKeys / 16][4], const Lane& v) {
#pragma unroll
    for (int kb = 0; kb < Tile::kKeys / 16; kb++) {
#pragma unroll
      for (int c = 0; c < Tile::kD / 8; c += 2) {
        uint32_t f[4];
        ptx::ldmatrix_x4_trans(f, v.at(16 * kb, c));
#pragma unroll
        for (int b = 0; b < Tile::kBlocks; b++) {
          Element<T>::mma(o[b][c], p[b][kb], f[0], f[1]);
          Element<T>::mma(o[b][c + 1], p[b][kb], f[2], f[3]);
        }
      }
    }
  }
};

// Scores of keys that a row doesn't see become `masked`. Row r of the CTA sees the keys below
// min(kv_length, r + diagonal); both are relative to this lane's first key.
template <class Tile>
__device__ __forceinline__ void mask_scores(MmaScores<Tile>& x, int kv_length, int diagonal, uint32_t masked) {
#pragma unroll
  for (int b = 0; b < Tile::kBlocks; b++) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const int end = min(kv_length, diagonal + 16 * b + 8 * h);
#pragma unroll
      for (int n = 0; n < Tile::kKeys / 8; n++) {
#pragma unroll
        for (int e = 0; e < 2; e++) {
          if (8 * n + e >= end) x.s[b][n][2 * h + e] = masked;
        }
      }
    }
  }
}

// What one warp carries through the loop.
template <class Policy, class Walk>
class MmaWarp {
 public:
  using Tile = typename Policy::Tile;
  using Softmax = typename Policy::template Softmax<Policy>;
  using Output = typename Policy::Output;

  __device__ __forceinline__ MmaWarp(Policy& policy, Walk& walk, const AttentionArgs& args, const WorkTile& w,
                                     uint32_t ring)
      : policy_(policy),
        walk_(walk),
        args_(args),
        w_(w),
        v_lane_(Output::lane(ring + Tile::kKBytes)),
        softmax_(args, ring - Tile::kRing + Tile::kScratchAt) {}

  // The keys of a tile, at byte `slot` of the ring. `load_ahead` starts the next tile's copies: behind the first
  // scores, so that they don't stand before ldmatrix in the memory pipe's queue.
  template <bool kMasked, class LoadAhead>
  __device__ __forceinline__ void visit(uint32_t slot, int tile, const LoadAhead& load_ahead) {
    if (kMasked) load_ahead();
#pragma unroll 1
    for (int i = 0; i < Tile::kSteps; i++) {
      const int first_key = tile * Tile::kStageKeys + i * Tile::kKeys;
      // The vote tells the compiler that the lanes stay together.
      if (kMasked && !arch::kFewRegisters && !__any_sync(kFullWarp, sees(first_key))) return;
      typename Softmax::Scores x;
      policy_.make_scores(x, slot, i);
      if constexpr (kMasked) mask(x, first_key);
      if (!kMasked && i == 0) load_ahead();
      typename Softmax::Fragments p;
      softmax_.probabilities(x, p, [&](int b, int h, float factor) { output_.scale(b, h, factor); });
      if constexpr (Walk::kSkips) {
        if (softmax_.is_little(walk_.least_share()) && values_are_finite(slot, i)) continue;
      }
      softmax_.add();
      output_.add(p, v_lane_.moved(slot, i * Tile::kKeys));
    }
  }

  __device__ __forceinline__ void store_lse() const {
    if (args_.lse == nullptr || threadIdx.x % 4 != 0) return;
    float* lse = args_.lse + (static_cast<int64_t>(w_.batch) * args_.heads_q + w_.head) * args_.lq;
#pragma unroll
    for (int b = 0; b < Tile::kBlocks; b++) {
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const int row = w_.first_row + first_row() + 16 * b + 8 * h;
        if (row >= args_.lq) continue;
        put_lse<Policy>(lse[row], softmax_.log_sum(b, h));
      }
    }
  }

  // After the last step.
  __device__ __forceinline__ void finish() { softmax_.finish(); }

  // What the warp found in its part of the keys goes to the workspace.
  __device__ __forceinline__ void store_part(int part) const {
    const int thread = ptx::thread_index();
#pragma unroll
    for (int b = 0; b < Tile::kBlocks; b++) {
      const PartStrip<Tile> to(args_.partials, part, thread / 32 * Tile::kBlocks + b, thread % 32);
#pragma unroll
      for (int i = 0; i < Tile::kD / 8; i++) {
        const float(&o)[4] = output_.o[b][i];
        __stcg(to.o(i), make_float4(o[0], o[1], o[2], o[3]));
      }
      if (thread % 4 != 0) continue;
#pragma unroll
      for (int h = 0; h < 2; h++) __stcg(to.row(h), make_float2(softmax_.reference(b, h), softmax_.sum(b, h)));
    }
  }

  // Divides by the row sums and stages the warp's rows in shared memory, in core-matrix order. A row that saw no key is
  // 0. Returns whether all that this lane staged is finite.
  __device__ __forceinline__ bool stage_output(char* smem) const {
    using E = Element<Policy::kType>;
    uint32_t nothing = 0;
#pragma unroll
    for (int b = 0; b < Tile::kBlocks; b++) {
      const float sum0 = softmax_.sum(b, 0), sum1 = softmax_.sum(b, 1);
      const float inv0 = sum0 == 0.f ? 0.f : 1.f / sum0, inv1 = sum1 == 0.f ? 0.f : 1.f / sum1;
      char* rows = smem + (threadIdx.x / 32 * Tile::kWarpRows + b * 16) * Tile::kD * 2 + threadIdx.x % 32 * 4;
#pragma unroll
      for (int i = 0; i < Tile::kD / 8; i++) {
        const float(&o)[4] = output_.o[b][i];
        float2 x0 = make_float2(o[0] * inv0, o[1] * inv0), x1 = make_float2(o[2] * inv1, o[3] * inv1);
        if constexpr (Policy::kScalesValues) {
          const auto channels = ValueScales<Tile::kD>(args_, w_.batch, w_.kv_head).channels(i);
          x0 = channels(x0, sum0 == 0.f ? 0.f : 1.f), x1 = channels(x1, sum1 == 0.f ? 0.f : 1.f);
        }
        const uint32_t two0 = E::pack(x0.x, x0.y), two1 = E::pack(x1.x, x1.y);
        *reinterpret_cast<uint32_t*>(rows + i * 128) = two0;
        *reinterpret_cast<uint32_t*>(rows + 8 * Tile::kD * 2 + i * 128) = two1;
        nothing = E::fma2_zero(two1, E::fma2_zero(two0, nothing));
      }
    }
    return (nothing & 0x7fff7fffu) == 0;
  }

 private:
  // Whether the values of a step's keys are: 0 times another one is no 0.
  __device__ __forceinline__ bool values_are_finite(uint32_t slot, int step) const {
    using E = Element<Policy::kType>;
    uint32_t nothing = 0;
#pragma unroll
    for (int kb = 0; kb < Tile::kKeys / 16; kb++) {
#pragma unroll
      for (int c = 0; c < Tile::kD / 8; c += 2) {
        uint32_t f[4];
        ptx::ldmatrix_x4_trans(f, v_lane_.moved(slot, step * Tile::kKeys).at(16 * kb, c));
#pragma unroll
        for (int e = 0; e < 4; e++) nothing = E::fma2_zero(f[e], nothing);
      }
    }
    return __all_sync(kFullWarp, (nothing & 0x7fff7fffu) == 0);
  }
  // This lane's first row in the CTA.
  __device__ __forceinline__ int first_row() const { return threadIdx.x / 32 * Tile::kWarpRows + threadIdx.x % 32 / 4; }
  // Whether any row of the warp sees a key from this one on.
  __device__ __forceinline__ bool sees(int key) const {
    const int end = ptx::again(w_.first_row) + (threadIdx.x / 32 + 1) * Tile::kWarpRows + args_.causal_offset;
    return key < min(ptx::again(w_.kv_length), end);
  }
  __device__ __forceinline__ void mask(typename Softmax::Scores& x, int first_key) const {
    const int key = first_key + 2 * (threadIdx.x % 4);
    const int row = ptx::again(w_.first_row) + first_row();
    mask_scores(x, ptx::again(w_.kv_length) - key, row + args_.causal_offset + 1 - key, policy_.masked());
  }

  Policy& policy_;
  Walk& walk_;
  const AttentionArgs& args_;
  const WorkTile& w_;             // in shared memory
  typename Output::Lane v_lane_;  // in slot 0
  Softmax softmax_;
  Output output_;
};

// Computes a warp's rows that are not finite again, once all of O is written. The loop's registers are full: nothing
// that this needs is kept meanwhile.
template <class Policy, class Visited>
__device__ __forceinline__ void repair_warp(const AttentionArgs& args, const WorkTile& w, const Visited& visited) {
  using Tile = typename Policy::Tile;
  const int thread = ptx::thread_index(), first = ptx::again(w.first_row) + thread / 32 * Tile::kWarpRows;
  const int head = ptx::again(w.batch) * args.heads_q + ptx::again(w.head);
  repair_rows<Policy::kType, Tile::kD>(args, {head, first, Tile::kWarpRows}, visited, thread % 32);
}

// Whether items may be parts of such (mma/parts.h).
template <class Policy, class Walk>
constexpr bool kDivides = Policy::kDivides && Walk::kDivides;

// What the CTA is given.
template <class Walk>
__device__ __forceinline__ const AttentionArgs& arguments_of(const AttentionArgs& call) {
  if constexpr (Walk::kPacked) {
    return Walk::arguments(call);
  } else {
    return call;
  }
}

template <class Policy, class Walk>
__global__ void __launch_bounds__(Policy::Tile::kThreads, Policy::kMinCtas)
    attend_mma_kernel(const __grid_constant__ AttentionArgs call) {
  const AttentionArgs& args = arguments_of<Walk>(call);
  if (Walk::kPacked && args.lq == 0) return;
  using Tile = typename Policy::Tile;
  ATTN4J_DYNAMIC_SHARED(128, char, smem);
  // What is read once per tile lies in shared memory: the registers are full, and would spill.
  __shared__ WorkTile shared_tile;
  const WorkTile w = work_tile<Tile, Walk, kDivides<Policy, Walk>>(args);
  if (threadIdx.x == 0) shared_tile = w;
  __syncthreads();
  const uint32_t ring = ptx::smem_address(smem) + Tile::kRing;
  Walk walk(args, w);
  Policy policy(args, w, ring);
  if (walk.count() > 0) policy.load_tile(0, walk[0], shared_tile);
  policy.load_queries(w, smem);
  ptx::cp_async_commit();
  ptx::cp_async_wait<0>();
  __syncthreads();
  policy.take_queries();
  if (Tile::kQInRing) __syncthreads();  // every warp has its rows: the second slot is free

  MmaWarp<Policy, Walk> warp(policy, walk, args, shared_tile, ring);
#pragma unroll 1
  for (int j = 0; j < walk.count(); j++) {
    const uint32_t slot = j % 2 * Tile::kSlotBytes;
    if (j > 0) {
      ptx::cp_async_wait<0>();
      __syncthreads();
    }
    const auto load_ahead = [&] {
      if (j + 1 < walk.full_count() && args.head_dim == Tile::kD) {
        policy.load_whole_tile(Tile::kSlotBytes - slot, walk.ahead(j + 1), shared_tile);
      } else if (j + 1 < walk.count()) {
        policy.load_tile(Tile::kSlotBytes - slot, walk.ahead(j + 1), shared_tile);
      }
      ptx::cp_async_commit();
    };
    if (j < walk.full_count()) {
      warp.template visit<false>(slot, 0, load_ahead);
    } else {
      warp.template visit<true>(slot, walk[j], load_ahead);
    }
  }
  warp.finish();
  if constexpr (kDivides<Policy, Walk>) {
    const int part = ptx::again(shared_tile.part);
    if (part >= 0) {
      warp.store_part(part);
      return;
    }
  }
  warp.store_lse();
  __syncthreads();  // every warp is done with Q, K and V: their memory takes the output
  const bool suspect = __syncthreads_or(!warp.stage_output(smem));
  const WorkTile& t = shared_tile;
  uint16_t* o = static_cast<uint16_t*>(args.o) + t.batch * args.o_stride.batch + t.head * args.o_stride.head;
  store_tile<Tile::kRows, Tile::kD / 8, Tile::kThreads>(smem, o, args.o_stride.row, t.first_row, args.lq, args.head_dim,
                                                        args.vector_io, threadIdx.x);
  if (suspect) {
    __syncthreads();  // all rows are written
    repair_warp<Policy>(args, shared_tile, walk.visited());
  }
}

// Adds up the parts of the items that are divided.
template <class Policy, class Walk>
cudaError_t launch_merge_parts(const AttentionArgs& args, int items, cudaStream_t stream) {
  const int64_t strips = static_cast<int64_t>(args.parts.divided(items)) * PartStrip<typename Policy::Tile>::kStrips;
  return enqueue_kernel<(arch::kSm >= 90)>(merge_parts_kernel<Policy, Walk>, static_cast<unsigned>((strips + 3) / 4),
                                           128, 0, stream, args);
}

template <class Policy, class Walk = AllTiles>
cudaError_t launch_attend_mma(const AttentionArgs& args, cudaStream_t stream) {
  using Tile = typename Policy::Tile;
  static_assert(Tile::kSmemBytes + Tile::kStaticBytes <= arch::smem_per_cta());
  constexpr auto kernel = attend_mma_kernel<Policy, Walk>;
  const cudaError_t error = allow_shared_memory<kernel>(Tile::kSmemBytes);
  if (error != cudaSuccess) return error;
  const int items = Walk::items(args, (args.lq + Tile::kRows - 1) / Tile::kRows);
  const int ctas = kDivides<Policy, Walk> ? args.parts.ctas(items) : items;
  const cudaError_t launched =
      enqueue_kernel(kernel, static_cast<unsigned>(ctas), Tile::kThreads, Tile::kSmemBytes, stream, args);
  if constexpr (kDivides<Policy, Walk>) {
    if (launched == cudaSuccess && ctas > items) return launch_merge_parts<Policy, Walk>(args, items, stream);
  }
  return launched;
}

}  // namespace attn4j
