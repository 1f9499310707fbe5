// Selection of blocks (SpargeAttn, arXiv:2502.18137, section 3.3): scores of pooled blocks, softmax, and the largest of
// them by cumulative mass or by rank; lists for the attention kernel, and the order in which it works them off.
//
// A row (one block of queries) belongs to one warp. Nothing is sorted. Both rules keep a prefix of the ranking, and a
// prefix is a threshold on the score, found by bisection. Mass is an integer in units of 2^-31, so its sums don't
// depend on the order of addition and results are bitwise repeatable.
#include <algorithm>

#include "arch/arch.h"
#include "attention/launch.cuh"
#include "device/launch.cuh"
#include "device/numeric.cuh"
#include "device/ptx/cp_async.cuh"
#include "device/ptx/math.cuh"
#include "sparse/predict.h"

namespace attn4j {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr int kMaxRows = 8;    // rows of a CTA: one per warp
constexpr int kKeyTile = 128;  // key blocks scored at a time
constexpr int kChunk = SelectArgs::kPitchStep;
constexpr int kTilePitch = kChunk + 4;  // floats: 16-byte reads of 8 consecutive rows hit different banks
constexpr int kRowGroup = kMaxRows / (kThreads / kKeyTile);  // rows that a thread scores against its key block
constexpr int kBuckets = 256;
constexpr float kMassUnit = 2147483648.f;  // 2^31
constexpr uint32_t kAlways = 0;            // the rank of blocks that no average describes

static_assert(kMaxRows == kWarps);

// A score's place in the ranking: larger is better, never kAlways.
__device__ __forceinline__ uint32_t to_rank(float score) {
  const uint32_t bits = __float_as_uint(score + 0.f);  // -0 and +0 tie
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ __forceinline__ float to_score(uint32_t rank) {
  return __uint_as_float(rank & 0x80000000u ? rank & 0x7fffffffu : ~rank);
}

// A block of keys as a row sees it.
struct Candidate {
  uint32_t rank;  // or kAlways
  uint32_t mass;  // share of the row's softmax, in units of 2^-31
};

// What a row keeps: ranks from `from` on, and of the rank just below it the first `ties` in index order.
struct Cut {
  uint32_t from, ties;
};

// A row and what it sees.
struct Row {
  int query_block;
  int64_t index;  // [b][hq][query_blocks]
  int visible;    // leading key blocks that any of its queries sees
};

__device__ __forceinline__ float value_of(const PerHead& t, int head) {
  return t.values != nullptr ? t.values[head] : t.value;
}

// Whether the head keeps all blocks, whatever its scores are.
__device__ __forceinline__ bool is_dense(const SelectArgs& a, int head) {
  return head < SelectArgs::kReportedHeads && (a.dense_heads[head / 64] >> head % 64 & 1) != 0;
}

__device__ __forceinline__ int keys_of(const SelectArgs& a, int batch) {
  return a.kv_lengths != nullptr ? min(max(a.kv_lengths[batch], 0), a.lk) : a.lk;
}

__device__ __forceinline__ int visible_blocks(const SelectArgs& a, int keys, int query_block) {
  const int last_row = min((query_block + 1) * a.query_block, a.lq) - 1;
  const int seen = max(0, min(keys, last_row + a.causal_offset + 1));
  return (seen + a.key_block - 1) / a.key_block;
}

// Scores of the CTA's rows against all key blocks: candidates[row][key_blocks].rank. In fp32, channel by channel.
__device__ __forceinline__ void score(const SelectArgs& a, int head_index, int first_row, int rows, int visible,
                                      Candidate* candidates, float* q_tile, float* k_tile) {
  const int head = head_index % a.heads_q;
  const int64_t kv = head_index / a.heads_q * static_cast<int64_t>(a.heads_q / a.group) + head / a.group;
  const float* k = a.k_means + kv * a.key_blocks * a.pitch;
  const float* q = a.q_means + (static_cast<int64_t>(head_index) * a.query_blocks + first_row) * a.pitch;
  const float threshold = value_of(a.similarity_threshold, head);
  for (int i = threadIdx.x; i < kMaxRows * a.pitch; i += kThreads) q_tile[i] = i < rows * a.pitch ? q[i] : 0.f;
  const int key = threadIdx.x % kKeyTile, row0 = threadIdx.x / kKeyTile * kRowGroup;
  const int chunks = a.pitch / kChunk;
  // Chunk `c` of the keys from `tile` on, into one of two buffers: it arrives while the chunk before is computed.
  constexpr int kPieces = kChunk / 4, kRowStep = kThreads / kPieces;
  const int own_row = threadIdx.x / kPieces, own_piece = threadIdx.x % kPieces * 4;
  const float* own_source = k + static_cast<int64_t>(own_row) * a.pitch + own_piece;
  const uint32_t own_target = ptx::smem_address(k_tile + own_row * kTilePitch + own_piece);
  const auto fetch = [&](int tile, int c, int buffer) {
    const float* source = own_source + static_cast<int64_t>(tile) * a.pitch + c * kChunk;
    const uint32_t target = own_target + buffer * (kKeyTile * kTilePitch * 4);
#pragma unroll
    for (int i = 0; i < kKeyTile / kRowStep; i++) {
      const bool there = tile + own_row + i * kRowStep < visible;
      ptx::cp_async_16(target + i * (kRowStep * kTilePitch * 4), there ? source : k, there);
      source += kRowStep * a.pitch;
    }
    ptx::cp_async_commit();
  };
  int buffer = 0;
  if (visible > 0) fetch(0, 0, 0);
  for (int tile = 0; tile < visible; tile += kKeyTile) {
    float s[kRowGroup] = {};
    for (int c = 0; c < chunks; c++, buffer ^= 1) {
      ptx::cp_async_wait<0>();
      __syncthreads();
      if (c + 1 < chunks) {
        fetch(tile, c + 1, buffer ^ 1);
      } else if (tile + kKeyTile < visible) {
        fetch(tile + kKeyTile, 0, buffer ^ 1);
      }
      const float* keys = k_tile + (buffer * kKeyTile + key) * kTilePitch;
      const float* queries = q_tile + row0 * a.pitch + c * kChunk;
#pragma unroll
      for (int i = 0; i < kChunk; i += 4) {
        const float4 x = *reinterpret_cast<const float4*>(keys + i);
#pragma unroll
        for (int r = 0; r < kRowGroup; r++) {
          const float4 y = *reinterpret_cast<const float4*>(queries + r * a.pitch + i);
          s[r] = fmaf(x.x, y.x, s[r]);
          s[r] = fmaf(x.y, y.y, s[r]);
          s[r] = fmaf(x.z, y.z, s[r]);
          s[r] = fmaf(x.w, y.w, s[r]);
        }
      }
    }
    if (tile + key >= visible) continue;
    // Written so that NaN fails: a block with a zero row has no direction, one with a NaN nothing to go by.
    const bool described = a.k_similarity[kv * a.key_blocks + tile + key] > threshold;
#pragma unroll
    for (int r = 0; r < kRowGroup; r++) {
      if (row0 + r >= rows) continue;
      const float x = s[r] * a.scale_log2;
      candidates[static_cast<int64_t>(row0 + r) * a.key_blocks + tile + key].rank =
          described && isfinite(x) ? to_rank(x) : kAlways;
    }
  }
  __syncthreads();
}

// What one lane of a warp keeps of a row: candidates lane, lane + 32, ... The first kKept of them are in registers; the
// others of longer rows are read from shared memory in every pass.
template <int kKept>
struct Ranking {
  uint32_t rank[kKept], mass[kKept];
  Candidate* rest;  // of this lane, 32 apart
  int rest_count;
  uint32_t top;  // the largest rank of the row

  // Calls f(rank, mass) for each candidate of the lane.
  template <class F>
  __device__ __forceinline__ void each(F f) const {
#pragma unroll
    for (int i = 0; i < kKept; i++) f(rank[i], mass[i]);
#pragma unroll 1
    for (int i = 0; i < rest_count; i++) f(rest[32 * i].rank, rest[32 * i].mass);
  }
};

__device__ __forceinline__ float weight(uint32_t rank, float top) {
  return rank == kAlways ? 0.f : ptx::ex2_approx_ftz(to_score(rank) - top);
}

// Turns scores into mass.
template <int kKept>
__device__ __forceinline__ void softmax(Candidate* row, int n, int lane, Ranking<kKept>* r) {
  uint32_t top = kAlways;
#pragma unroll
  for (int i = 0; i < kKept; i++) {
    r->rank[i] = lane + 32 * i < n ? row[lane + 32 * i].rank : kAlways;
    r->mass[i] = 0;
    top = max(top, r->rank[i]);
  }
  r->rest = row + lane + 32 * kKept;
  r->rest_count = max(0, (n - lane - 32 * kKept + 31) / 32);
  for (int i = 0; i < r->rest_count; i++) top = max(top, r->rest[32 * i].rank);
  r->top = top = __reduce_max_sync(kFullWarp, top);
  if (top == kAlways) return;
  const float m = to_score(top);
  float sum = 0.f;
#pragma unroll
  for (int i = 0; i < kKept; i++) sum += weight(r->rank[i], m);
  for (int i = 0; i < r->rest_count; i++) sum += weight(r->rest[32 * i].rank, m);
#pragma unroll
  for (int o = 16; o > 0; o >>= 1) sum += __shfl_xor_sync(kFullWarp, sum, o);
  const float unit = __fdividef(kMassUnit, sum);  // an exact division is a call, and calls spill
#pragma unroll
  for (int i = 0; i < kKept; i++) r->mass[i] = __float2uint_rn(weight(r->rank[i], m) * unit);
  for (int i = 0; i < r->rest_count; i++) {
    r->rest[32 * i].mass = __float2uint_rn(weight(r->rest[32 * i].rank, m) * unit);
  }
}

// Count and mass of the ranks from `from` (above kAlways) on.
template <int kKept>
__device__ __forceinline__ void sum_from(const Ranking<kKept>& r, uint32_t from, uint32_t* count, uint32_t* mass) {
  uint32_t c = 0, m = 0;
  r.each([&](uint32_t rank, uint32_t x) {
    if (rank >= from) c++, m += x;
  });
  *count = __reduce_add_sync(kFullWarp, c);
  *mass = __reduce_add_sync(kFullWarp, m);
}

// The longest prefix of the ranking with at most `most_mass`, or of `least_count` blocks if that is longer.
//
// `last` is the highest rank known not to be kept whole (kAlways: none), `from` the lowest known to be. Each pass
// halves what lies between, and then moves the bound on to the next rank that exists: few passes find it.
template <int kKept>
__device__ __forceinline__ Cut find_cut(const Ranking<kKept>& r, uint32_t most_mass, uint32_t least_count) {
  uint32_t last = kAlways, from = r.top + 1, count, mass;  // no rank is as high as top + 1: surely kept whole
  while (from - last > 1) {
    const uint32_t middle = last + (from - last) / 2;
    sum_from(r, middle, &count, &mass);
    if (mass <= most_mass || count <= least_count) {
      uint32_t below = kAlways;  // the highest rank that `middle` leaves out
      r.each([&](uint32_t rank, uint32_t) { below = rank < middle ? max(below, rank) : below; });
      from = max(__reduce_max_sync(kFullWarp, below), last) + 1;
    } else {
      uint32_t above = 0xffffffffu;  // the lowest that it keeps
      r.each([&](uint32_t rank, uint32_t) { above = rank >= middle ? min(above, rank) : above; });
      last = __reduce_min_sync(kFullWarp, above);
    }
  }
  Cut cut = {from, 0};
  if (last == kAlways) return cut;
  // The blocks of rank `last` have equal scores, so equal masses.
  sum_from(r, from, &count, &mass);
  uint32_t each = 0;
  r.each([&](uint32_t rank, uint32_t x) { each = rank == last ? x : each; });
  each = __reduce_max_sync(kFullWarp, each);
  if (mass <= most_mass && each > 0) cut.ties = (most_mass - mass) / each;
  if (count < least_count) cut.ties = max(cut.ties, least_count - count);
  return cut;
}

template <int kKept>
__device__ __forceinline__ Cut rank_and_cut(Candidate* candidates, int n, uint32_t most_mass, uint32_t least_count,
                                            int lane) {
  Ranking<kKept> ranking;
  softmax(candidates, n, lane, &ranking);
  return ranking.top == kAlways ? Cut{kAlways, 0} : find_cut(ranking, most_mass, least_count);
}

__device__ __forceinline__ Cut predict(const SelectArgs& a, const Row& row, int head, int keys, Candidate* candidates,
                                       int lane) {
  if (is_dense(a, head)) return {kAlways, 0};
  // A block of queries that its average doesn't describe sees everything. NaN fails here too.
  if (!(a.q_similarity[row.index] > value_of(a.similarity_threshold, head))) return {kAlways, 0};
  const float share = value_of(a.mass_threshold, head), topk = value_of(a.topk, head);
  const int blocks = (keys + a.key_block - 1) / a.key_block;
  const uint32_t most_mass = share >= 1.f ? 0xffffffffu : __float2uint_rd(share * kMassUnit);
  const uint32_t least_count = max(1u, __float2uint_rd(topk * static_cast<float>(blocks)));
  return row.visible <= 128 ? rank_and_cut<4>(candidates, row.visible, most_mass, least_count, lane)
                            : rank_and_cut<16>(candidates, row.visible, most_mass, least_count, lane);
}

// Writes a row's list, count and map.
__device__ __forceinline__ void emit(const SelectArgs& a, const Row& row, const Candidate* candidates, Cut cut,
                                     int lane) {
  int32_t* list = a.list + row.index * a.key_blocks;
  const uint8_t* given = a.given != nullptr ? a.given + row.index * a.key_blocks : nullptr;
  uint8_t* map = a.map != nullptr ? a.map + row.index * a.key_blocks : nullptr;
  const uint32_t before = (1u << lane) - 1;
  int count = 0;
  uint32_t ties = 0;
  for (int base = 0; base < a.key_blocks; base += 32) {
    const int j = base + lane;
    bool kept = false, tie = false;
    if (j < row.visible) {
      kept = a.sink && j == 0;
      if (given != nullptr) {
        kept |= given[j] != 0;
      } else {
        const uint32_t rank = candidates[j].rank;
        kept |= rank == kAlways || rank >= cut.from;
        tie = cut.from > kAlways && rank == cut.from - 1;
      }
    }
    const uint32_t tied = __ballot_sync(kFullWarp, tie);
    kept |= tie && ties + __popc(tied & before) < cut.ties;
    ties += __popc(tied);
    const uint32_t all = __ballot_sync(kFullWarp, kept);
    if (kept) list[count + __popc(all & before)] = j;
    if (map != nullptr && j < a.key_blocks) map[j] = kept ? 1 : 0;
    count += __popc(all);
  }
  if (lane == 0) a.count[row.index] = count;
}

// A head's rows by work, most first, so that the last CTAs of a head are short; and its sparsity.
__device__ __forceinline__ void finish_head(const SelectArgs& a, int head_index, int keys) {
  __shared__ int start[kBuckets];
  __shared__ unsigned long long kept, visible;
  const int64_t first = static_cast<int64_t>(head_index) * a.query_blocks;
  const float buckets_per_block = __fdividef(kBuckets - 1, static_cast<float>(max(a.key_blocks, 1)));
  const auto bucket = [&](int count) { return kBuckets - 1 - static_cast<int>(count * buckets_per_block); };
  for (int i = threadIdx.x; i < kBuckets; i += kThreads) start[i] = 0;
  if (threadIdx.x == 0) kept = visible = 0;
  __syncthreads();
  unsigned long long my_kept = 0, my_visible = 0;
  for (int i = threadIdx.x; i < a.query_blocks; i += kThreads) {
    const int count = __ldcg(a.count + first + i);
    my_kept += count;
    my_visible += visible_blocks(a, keys, i);
    atomicAdd(&start[bucket(count)], 1);
  }
  atomicAdd(&kept, my_kept);
  atomicAdd(&visible, my_visible);
  __syncthreads();
  if (threadIdx.x < 32) {  // counts to first places, 8 buckets a lane
    constexpr int kEach = kBuckets / 32;
    int sum = 0, each[kEach];
#pragma unroll
    for (int i = 0; i < kEach; i++) sum += each[i] = start[kEach * threadIdx.x + i];
    int before = sum;
#pragma unroll
    for (int o = 1; o < 32; o *= 2) {
      const int lower = __shfl_up_sync(kFullWarp, before, o);
      if (static_cast<int>(threadIdx.x) >= o) before += lower;
    }
    before -= sum;
#pragma unroll
    for (int i = 0; i < kEach; i++) {
      start[kEach * threadIdx.x + i] = before;
      before += each[i];
    }
  }
  if (threadIdx.x == 0) {
    // Of the difference, not the quotient: exactly 0 if nothing is left out, and small shares keep their digits.
    const float left_out = static_cast<float>(visible - kept);
    const float share = visible > 0 ? __fdividef(left_out, static_cast<float>(visible)) : 0.f;
    const int head = head_index % a.heads_q;
    if (a.sparsity != nullptr) a.sparsity[head_index] = share;
    if (a.report != nullptr && head < SelectArgs::kReportedHeads) a.report[head] = share;
  }
  __syncthreads();
  for (int i = threadIdx.x; i < a.query_blocks; i += kThreads) {
    a.order[first + atomicAdd(&start[bucket(__ldcg(a.count + first + i))], 1)] = i;
  }
}

// One CTA per `rows_per_cta` rows of a head, `ctas_per_head` of them. Left alone, ptxas aims at fewer registers and
// spills on some architectures.
__global__ void __launch_bounds__(kThreads, 2)
    select_kernel(const __grid_constant__ SelectArgs a, int rows_per_cta, int ctas_per_head) {
  ATTN4J_DYNAMIC_SHARED(16, float, smem);
  __shared__ bool is_last;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int head_index = blockIdx.x / ctas_per_head, head = head_index % a.heads_q;
  const int keys = keys_of(a, head_index / a.heads_q);
  const int first_row = blockIdx.x % ctas_per_head * rows_per_cta, rows = min(rows_per_cta, a.query_blocks - first_row);
  float* k_tile = smem;
  float* q_tile = k_tile + 2 * kKeyTile * kTilePitch;
  Candidate* candidates = reinterpret_cast<Candidate*>(q_tile + kMaxRows * a.pitch);
  if (a.given == nullptr && !is_dense(a, head)) {
    score(a, head_index, first_row, rows, visible_blocks(a, keys, first_row + rows - 1), candidates, q_tile, k_tile);
  }
  if (warp < rows) {
    Row row;
    row.query_block = first_row + warp;
    row.index = static_cast<int64_t>(head_index) * a.query_blocks + row.query_block;
    row.visible = visible_blocks(a, keys, row.query_block);
    Candidate* mine = candidates + static_cast<int64_t>(warp) * a.key_blocks;
    const Cut cut = a.given == nullptr ? predict(a, row, head, keys, mine, lane) : Cut{kAlways, 0};
    emit(a, row, mine, cut, lane);
  }
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) is_last = atomicAdd(&a.finished[head_index], 1) == ctas_per_head - 1;
  __syncthreads();
  if (!is_last) return;
  __threadfence();
  finish_head(a, head_index, keys);
}

int64_t fixed_smem(int32_t pitch) { return (2 * kKeyTile * kTilePitch + kMaxRows * pitch) * int64_t{sizeof(float)}; }

constexpr int kMaxSmem = arch::smem_per_cta() - 2048;  // less what the kernel declares statically, rounded up

}  // namespace

int32_t most_key_blocks() { return static_cast<int32_t>((kMaxSmem - fixed_smem(128)) / sizeof(Candidate)); }

cudaError_t enqueue_select(const SelectArgs& args, cudaStream_t stream) {
  cudaError_t error = cudaSuccess;
  if (!args.finished_is_zero) {
    error = cudaMemsetAsync(args.finished, 0, sizeof(int32_t) * args.batch * args.heads_q, stream);
    if (error != cudaSuccess) return error;
  }
  int rows = kMaxRows;
  int64_t smem = 0;
  if (args.given == nullptr) {
    const int64_t row_bytes = std::max<int64_t>(args.key_blocks * int64_t{sizeof(Candidate)}, 1);
    rows = static_cast<int>(std::min<int64_t>(kMaxRows, (kMaxSmem - fixed_smem(args.pitch)) / row_bytes));
    smem = fixed_smem(args.pitch) + rows * row_bytes;
    error = allow_shared_memory<select_kernel>(kMaxSmem);
    if (error != cudaSuccess) return error;
  }
  const int ctas = (args.query_blocks + rows - 1) / rows;                      // of a head
  const int64_t all = static_cast<int64_t>(args.batch) * args.heads_q * ctas;  // at most as many as attention's own
  return enqueue_kernel(select_kernel, static_cast<unsigned>(all), kThreads, smem, stream, args, rows, ctas);
}

}  // namespace attn4j
