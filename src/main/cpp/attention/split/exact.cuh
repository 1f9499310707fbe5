// Exact attention of few queries on many keys (decoding, pooling heads), for every architecture from sm_80 up: the keys
// of a head are split between CTAs (FlashDecoding, "split-KV"), and the query heads that share a KV head are rows of
// one tile, so that K and V are read once.
//
// Few rows make the kernel a stream of K and V: what counts is how many bytes are in flight. A CTA has several teams of
// warps, each with a ring of its own that nobody else waits for; with 16 rows a team is one warp. Teams take the stages
// of the CTA's range of keys in turn and add up at the end. Where keys are split, each CTA leaves its sums in the
// workspace and attention/split/combine.cuh adds them in a fixed order: results are the same in every run.
#pragma once

#include "attention/arguments.h"
#include "attention/launch.cuh"
#include "attention/split/combine.cuh"
#include "attention/split/recipe.h"
#include "attention/split/tile.cuh"
#include "device/launch.cuh"

namespace attn4j {

// For compute-sanitizer's racecheck, which reports hazards across __syncthreads() where teams have passed different
// numbers of their own barriers before (docs/decode.md): 1 makes all teams meet at each stage, at one barrier.
#ifndef ATTN4J_ONE_BARRIER
#define ATTN4J_ONE_BARRIER 0
#endif
constexpr bool kOneBarrier = ATTN4J_ONE_BARRIER;

// Where a CTA works.
template <class Tile>
struct SplitWork {
  int kv_head;          // of all batch entries
  int batch, head;      // the KV head in its batch entry
  int first_row, rows;  // of the CTA; of the KV head: queries * group, row = query * group + head of the group
  int part;
  int end;    // keys that any row of the CTA sees
  int least;  // keys that every row of the CTA sees
  int first_stage, last_stage;

  __device__ __forceinline__ SplitWork(const AttentionArgs& a, const SplitPlan& plan) {
    unsigned index = blockIdx.x;  // row tiles of the same keys follow each other and share them in L2
    first_row = static_cast<int>(index % plan.row_tiles) * Tile::kRows;
    index /= plan.row_tiles;
    part = static_cast<int>(index % plan.splits);
    kv_head = static_cast<int>(index / plan.splits);
    batch = kv_head / a.heads_kv, head = kv_head - batch * a.heads_kv;
    rows = a.lq * a.group;
    const int keys = a.kv_lengths != nullptr ? min(max(a.kv_lengths[batch], 0), a.lk) : a.lk;
    const int last = (min(first_row + Tile::kRows, rows) - 1) / a.group;
    end = max(0, min(keys, last + a.causal_offset + 1));
    least = max(0, min(keys, first_row / a.group + a.causal_offset + 1));
    const int stages = (end + Tile::kStageKeys - 1) / Tile::kStageKeys, share = stages / plan.splits;
    const int more = stages - share * plan.splits;  // parts that take one stage more
    first_stage = part * share + min(part, more);
    last_stage = first_stage + share + (part < more ? 1 : 0);
  }
};

// Starts the copy of the CTA's rows of Q; rows behind the last and channels behind head_dim become zeros.
template <class Tile>
__device__ __forceinline__ void split_load_queries(const AttentionArgs& a, const SplitWork<Tile>& w, uint32_t smem) {
  constexpr int kPieces = Tile::kD / 8;
  const uint16_t* q = static_cast<const uint16_t*>(a.q) + w.batch * a.q_stride.batch +
                      static_cast<int64_t>(w.head) * a.group * a.q_stride.head;
#pragma unroll 4
  for (int i = threadIdx.x; i < Tile::kRows * kPieces; i += Tile::kThreads) {
    const int row = i / kPieces, piece = i % kPieces, global_row = w.first_row + row;
    const int query = global_row / a.group, member = global_row - query * a.group;
    const uint16_t* source = q + member * a.q_stride.head + query * a.q_stride.row + piece * 8;
    const SplitLane<typename Tile::QueryTile> at(row & 15, piece & 1);
    ptx::cp_async_16(at.at(smem, row & ~15, piece & ~1), source, global_row < w.rows && 8 * piece < a.head_dim);
  }
}

// A negative softmax scale is the sign of Q: maxima are taken of positively scaled scores.
template <class Tile>
__device__ __forceinline__ void split_flip_queries(char* smem) {
  for (int i = threadIdx.x; i < Tile::kQueryBytes / 16; i += Tile::kThreads) {
    uint4& x = reinterpret_cast<uint4*>(smem)[i];
    x = make_uint4(x.x ^ 0x80008000u, x.y ^ 0x80008000u, x.z ^ 0x80008000u, x.w ^ 0x80008000u);
  }
}

// One stage of a team. With kMasked some row doesn't see all of its keys; such steps need registers for the mask, and
// are short.
template <bool kMasked, class Tile, DType T>
__device__ __forceinline__ void split_stage(const AttentionArgs& a, const SplitWork<Tile>& w, SplitSums<Tile, T>& sums,
                                            const SplitQueries<Tile, T>& queries, const char* stage, int first_key,
                                            int lane) {
  const uint32_t k_smem = ptx::smem_address(stage), v_smem = k_smem + Tile::KeyTile::kBytes;
  constexpr int kKeys = kMasked ? 16 : Tile::kStepKeys;
#pragma unroll 1
  for (int first = 0; first < Tile::kStageKeys; first += kKeys) {
    float s[Tile::kBlocks][kKeys / 8][4];
    split_scores<Tile, T>(s, queries, k_smem, first, lane);
    float scale = a.scale_log2;
    int seen[Tile::kBlocks][2];
    if constexpr (kMasked) {
      const int row = w.first_row + threadIdx.x % Tile::kTeamThreads / 32 * Tile::kWarpRows + lane / 4;
#pragma unroll
      for (int b = 0; b < Tile::kBlocks; b++) {
#pragma unroll
        for (int h = 0; h < 2; h++) {
          const int end = min(w.end, (row + 16 * b + 8 * h) / a.group + a.causal_offset + 1);
          seen[b][h] = end - first_key - first;
#pragma unroll
          for (int n = 0; n < kKeys / 8; n++) {
#pragma unroll
            for (int e = 0; e < 2; e++) {
              float& x = s[b][n][2 * h + e];
              x = 8 * n + 2 * (lane % 4) + e < seen[b][h] ? x * scale : -kInfinity;
            }
          }
        }
      }
      scale = 1.f;
    }
    sums.raise(s, scale);
    uint32_t p[Tile::kBlocks][kKeys / 16][4];
    sums.exponentiate(s, scale, p);
    if (sums.template add_pv<kMasked>(p, v_smem, first, lane)) {
      if constexpr (kMasked) sums.template add_not_finite<kKeys>(stage + Tile::KeyTile::kBytes, first, seen, lane);
    }
  }
}

// All stages of a team.
template <class Tile, DType T>
__device__ __forceinline__ void split_walk(const AttentionArgs& a, const SplitWork<Tile>& w, char* smem,
                                           SplitSums<Tile, T>& sums) {
  using KeyTile = typename Tile::KeyTile;
  const int lane = threadIdx.x % 32, team = threadIdx.x / Tile::kTeamThreads, thread = threadIdx.x % Tile::kTeamThreads;
  const int warp_row = thread / 32 * Tile::kWarpRows;
  char* const ring = smem + Tile::QueryTile::kBytes + team * Tile::kStages * Tile::kStageBytes;
  const uint32_t ring_address = ptx::smem_address(ring);
  const uint16_t* k = static_cast<const uint16_t*>(a.k) + w.batch * a.k_stride.batch + w.head * a.k_stride.head;
  const uint16_t* v = static_cast<const uint16_t*>(a.v) + w.batch * a.v_stride.batch + w.head * a.v_stride.head;
  const auto load = [&](int stage, int slot) {
    const uint32_t at = ring_address + slot * Tile::kStageBytes;
    const int key = stage * Tile::kStageKeys;
    if (stage < w.last_stage) {
      split_load_panels<KeyTile, Tile::kTeamThreads>(at, k, a.k_stride.row, key, w.end, a.head_dim, thread);
      split_load_panels<KeyTile, Tile::kTeamThreads>(at + KeyTile::kBytes, v, a.v_stride.row, key, w.end, a.head_dim,
                                                     thread);
    }
    ptx::cp_async_commit();
  };
  const auto team_sync = [&] {
    if constexpr (Tile::kTeamThreads == 32) {
      __syncwarp();
    } else if constexpr (Tile::kTeams == 1 || kOneBarrier) {
      __syncthreads();
    } else {
      ptx::named_barrier_sync(1 + team, Tile::kTeamThreads);
    }
  };

  const int first = w.first_stage + team;
  split_load_queries<Tile>(a, w, ptx::smem_address(smem));
  ptx::cp_async_commit();
#pragma unroll
  for (int i = 0; i < Tile::kStages - 1; i++) load(first + i * Tile::kTeams, i);
  ptx::cp_async_wait<Tile::kStages - 1>();
  __syncthreads();  // Q is there
  if (a.q_sign < 0.f) {
    split_flip_queries<Tile>(smem);
    __syncthreads();
  }
  const SplitQueries<Tile, T> queries(ptx::smem_address(smem), warp_row, lane);
  sums.clear();

  int slot = 0;
  const int last = kOneBarrier ? w.last_stage + team : w.last_stage;  // as many rounds for all
#pragma unroll 1
  for (int j = first; j < last; j += Tile::kTeams) {
    ptx::cp_async_wait<Tile::kStages - 2>();
    team_sync();  // the stage is there for all, and all are done with the one before
    load(j + (Tile::kStages - 1) * Tile::kTeams, slot == 0 ? Tile::kStages - 1 : slot - 1);
    if (kOneBarrier && j >= w.last_stage) continue;
    const char* stage = ring + slot * Tile::kStageBytes;
    if ((j + 1) * Tile::kStageKeys <= w.least) {
      split_stage<false, Tile, T>(a, w, sums, queries, stage, j * Tile::kStageKeys, lane);
    } else {
      split_stage<true, Tile, T>(a, w, sums, queries, stage, j * Tile::kStageKeys, lane);
    }
    slot = slot + 1 == Tile::kStages ? 0 : slot + 1;
  }
  ptx::cp_async_wait<0>();
}

// The sums of all teams into shared memory: [team][row][kSumPitch] of O, then [team][row] of (reference, sum). Of
// `rows_used` rows: a tile of one query is mostly empty.
template <class Tile, DType T>
__device__ __forceinline__ void split_share_sums(const SplitSums<Tile, T>& sums, int rows_used, float* shared) {
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  float2* const rows = reinterpret_cast<float2*>(shared + Tile::kTeams * Tile::kRows * Tile::kSumPitch);
#pragma unroll
  for (int b = 0; b < Tile::kBlocks; b++) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const int row = warp * Tile::kWarpRows + 16 * b + lane / 4 + 8 * h;  // teams follow each other
      float sum = sums.sum[b][h];
      sum += __shfl_xor_sync(kFullWarp, sum, 1);
      sum += __shfl_xor_sync(kFullWarp, sum, 2);
      if (row % Tile::kRows >= rows_used) continue;
      if (lane % 4 == 0) rows[row] = make_float2(sums.m[b][h], sum);
#pragma unroll
      for (int i = 0; i < Tile::kD / 8; i++) {
        *reinterpret_cast<float2*>(shared + row * Tile::kSumPitch + 8 * i + 2 * (lane % 4)) =
            make_float2(sums.o[b][i][2 * h], sums.o[b][i][2 * h + 1]);
      }
    }
  }
}

// Adds the teams up and writes the output, or the sums of this part into the workspace.
template <class Tile, DType T>
__device__ __forceinline__ void split_store(const AttentionArgs& a, const SplitPlan& plan, const SplitWork<Tile>& w,
                                            int rows_used, const float* shared) {
  constexpr int kPieces = Tile::kD / 8;
  const float2* const rows = reinterpret_cast<const float2*>(shared + Tile::kTeams * Tile::kRows * Tile::kSumPitch);
  const SplitPartials partials(a, plan, Tile::kD);
  for (int i = threadIdx.x; i < rows_used * kPieces; i += Tile::kThreads) {
    const int row = i / kPieces, channel = i % kPieces * 8;
    float m = -kInfinity, sum = 0.f, x[8] = {};
#pragma unroll
    for (int t = 0; t < Tile::kTeams; t++) m = fmaxf(m, rows[t * Tile::kRows + row].x);
#pragma unroll
    for (int t = 0; t < Tile::kTeams; t++) {
      const float2 r = rows[t * Tile::kRows + row];
      const float weight = split_weight(r, m);
      sum += weight * r.y;
      const float* o = shared + (t * Tile::kRows + row) * Tile::kSumPitch + channel;
#pragma unroll
      for (int e = 0; e < 8; e++) x[e] += weight * o[e];
    }
    if (plan.splits > 1) {
      const int64_t part_row = (int64_t{w.kv_head} * plan.splits + w.part) * w.rows + w.first_row + row;
      float4* const target = reinterpret_cast<float4*>(partials.o + part_row * Tile::kD + channel);
      target[0] = make_float4(x[0], x[1], x[2], x[3]), target[1] = make_float4(x[4], x[5], x[6], x[7]);
      if (channel == 0) partials.rows[part_row] = make_float2(m, sum);
    } else {
      split_store_row<T>(a, {w.batch, w.head, w.first_row + row}, channel, x, m, sum);
    }
  }
}

template <class Tile, DType T>
__global__ void __launch_bounds__(Tile::kThreads, 1)
    exact_split_kernel(const __grid_constant__ AttentionArgs args, const __grid_constant__ SplitPlan plan) {
  ATTN4J_DYNAMIC_SHARED(1024, char, smem);
  if constexpr (arch::kSm >= 90) {
    if (plan.splits > 1) ptx::griddepcontrol_launch_dependents();
  }
  const SplitWork<Tile> w(args, plan);
  SplitSums<Tile, T> sums;
  split_walk<Tile, T>(args, w, smem, sums);
  __syncthreads();  // every warp is done with Q, K and V: their memory takes the sums
  const int rows_used = min(Tile::kRows, w.rows - w.first_row);
  split_share_sums<Tile, T>(sums, rows_used, reinterpret_cast<float*>(smem));
  __syncthreads();
  split_store<Tile, T>(args, plan, w, rows_used, reinterpret_cast<const float*>(smem));
}

// Attends with a plan of this tile.
template <class Tile, DType T>
cudaError_t launch_exact_split(const AttentionArgs& args, const SplitPlan& plan, cudaStream_t stream) {
  constexpr auto kernel = exact_split_kernel<Tile, T>;
  cudaError_t error = allow_shared_memory<kernel>(Tile::kSmemBytes);
  if (error != cudaSuccess) return error;
  if (plan.ctas > INT32_MAX) return cudaErrorInvalidConfiguration;
  error =
      enqueue_kernel(kernel, static_cast<unsigned>(plan.ctas), Tile::kThreads, Tile::kSmemBytes, stream, args, plan);
  if (error != cudaSuccess || plan.splits == 1) return error;
  return launch_split_combine<Tile::kD, T>(args, plan, stream);
}

// q, k and v must be 16-byte aligned in base and strides, with a head_dim of a multiple of 8 or zeros up to the next
// one. args.partials has room for SplitPlanner::most_partials.
template <int kD, DType T>
struct ExactSplit {
  using Tiles = SplitTiles<kD>;
  using Recipe = SplitRecipe<kD>;

  static cudaError_t launch(const AttentionArgs& args, cudaStream_t stream) {
    int multiprocessors = 0;
    const cudaError_t error = multiprocessor_count(&multiprocessors);
    if (error != cudaSuccess) return error;
    return launch_plan(args, Recipe::plan_for(args, machine_of(multiprocessors)), stream);
  }

  static cudaError_t launch_plan(const AttentionArgs& args, const SplitPlan& plan, cudaStream_t stream) {
    switch (plan.tile) {
      case SplitTileId::kFew:
        return launch_exact_split<SplitTile<typename Tiles::Few>, T>(args, plan, stream);
      case SplitTileId::kPair:
        return launch_exact_split<SplitTile<typename Tiles::Pair>, T>(args, plan, stream);
      case SplitTileId::kSome:
        return launch_exact_split<SplitTile<typename Tiles::Some>, T>(args, plan, stream);
      case SplitTileId::kMany:
        if constexpr (!Tiles::kWide) return launch_exact_split<SplitTile<typename Tiles::Many>, T>(args, plan, stream);
        break;
    }
    return cudaErrorInvalidValue;
  }

  static KernelEntry entry(const char* name) { return Recipe::template entry<T>(name, &launch); }
};

}  // namespace attn4j
