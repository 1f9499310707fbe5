// The statistics of a kv head that its quantisation needs: the mean of K over sampled keys, the maximum of |V| per
// channel over all keys. A unit takes a chunk of keys; the last one of a head adds up, in the order of the chunks.
#pragma once

#include "quant/fp8_rows.cuh"
#include "quant/fp8_team.cuh"

namespace attn4j {

constexpr int kMeanSamples = 512;  // keys that the K mean is taken over; any shift leaves the softmax unchanged

template <int D>
struct StatisticsScratch {
  static constexpr int kWarps = kTeamThreads / 32;
  uint4 threads[kTeamThreads];  // each thread's own maxima, from block to block
  alignas(16) uint32_t maxima[kWarps][D / 2];
  float sums[kWarps][D];
  int32_t last;
};

// Key of sample i of K: one of each `step` keys, at places that no period of the data follows.
// bench/cpp/sparse_problem.cuh has the same formula.
__device__ __forceinline__ int sampled_key(int i, int step, int keys) {
  const uint32_t place = (i * 40503u & 0xffffu) * static_cast<uint32_t>(step) >> 16;
  return min(i * step + static_cast<int>(place), keys - 1);
}

template <int D>
__device__ __forceinline__ float* statistics_of(const PrepassParams& p, int64_t kv_head, int chunk) {
  return p.statistics + (kv_head * (p.schedule.chunks.value + 1) + chunk) * (2 * D);
}

// Returns when a head's statistics are there. Each warp waits by itself.
__device__ __forceinline__ void await_statistics(const PrepassParams& p, int64_t kv_head) {
  if ((threadIdx.x & 31) == 0) {
    while (ptx::load_acquire(p.statistics_done + kv_head) <= p.schedule.chunks.value) __nanosleep(100);
  }
  __syncwarp();
}

// The head's mean of K (row 0) or maximum of V (row 1), from channel `channel` on, after await_statistics.
template <int D, int kRow, int kCount>
__device__ __forceinline__ void load_statistics(const PrepassParams& p, int64_t kv_head, int channel,
                                                float (&x)[kCount]) {
  const float* from = statistics_of<D>(p, kv_head, p.schedule.chunks.value) + kRow * D;
#pragma unroll
  for (int i = 0; i < kCount; i += 4) {
    const float4 f =
        channel + i < D ? *reinterpret_cast<const float4*>(from + channel + i) : make_float4(0.f, 0.f, 0.f, 0.f);
    x[i] = f.x, x[i + 1] = f.y, x[i + 2] = f.z, x[i + 3] = f.w;
  }
}

// Adds each warp's lanes of the same channels up.
template <int D>
__device__ __forceinline__ void store_sums(const Fp8Team& team, float (&sum)[8], StatisticsScratch<D>& scratch) {
  constexpr int kLanes = PrepassShape<D>::kLanes;
#pragma unroll
  for (int o = kLanes; o < 32; o <<= 1) {
#pragma unroll
    for (int e = 0; e < 8; e++) sum[e] += __shfl_xor_sync(kFullWarp, sum[e], o);
  }
  const int lane = team.thread() % 32;
  if (lane < D / 8) {
#pragma unroll
    for (int e = 0; e < 8; e++) scratch.sums[team.thread() / 32][8 * lane + e] = sum[e];
  }
}

template <int D, DType T>
__device__ __forceinline__ void store_maxima(const Fp8Team& team, uint4 most, StatisticsScratch<D>& scratch) {
  using E = Element<T>;
#pragma unroll
  for (int o = PrepassShape<D>::kLanes; o < 32; o <<= 1) {
    most.x = E::max_abs(most.x, __shfl_xor_sync(kFullWarp, most.x, o));
    most.y = E::max_abs(most.y, __shfl_xor_sync(kFullWarp, most.y, o));
    most.z = E::max_abs(most.z, __shfl_xor_sync(kFullWarp, most.z, o));
    most.w = E::max_abs(most.w, __shfl_xor_sync(kFullWarp, most.w, o));
  }
  const int lane = team.thread() % 32;
  if (lane < D / 8) *reinterpret_cast<uint4*>(&scratch.maxima[team.thread() / 32][4 * lane]) = most;
}

// Sums of the chunk's sampled keys: a few loads per thread, once per chunk.
template <int D, DType T>
__device__ __forceinline__ void sample_keys(const Fp8Team& team, const PrepassParams& p, const Fp8Step& unit,
                                            StatisticsScratch<D>& scratch) {
  using Shape = PrepassShape<D>;
  const AttentionArgs& a = p.a;
  const int keys = unit.end, step = (keys + kMeanSamples - 1) / kMeanSamples;
  const int first = unit.first, end = min(keys, first + unit.blocks * Shape::kBlock);
  const int piece = team.thread() % Shape::kLanes, row = team.thread() / Shape::kLanes;
  float sum[8] = {};
  if (a.k_mean != nullptr && step > 0 && 8 * piece < a.head_dim) {
    const auto* k = rows_of<T>(a.k, a.k_stride, unit.batch(p), unit.head) + 8 * piece;
#pragma unroll 4
    for (int i = (first + step - 1) / step + row; i * step < end; i += Shape::kRowsAtOnce) {
      float x[8];
      load8<T>(x, k + sampled_key(i, step, keys) * a.k_stride.row, 8, true);
#pragma unroll
      for (int e = 0; e < 8; e++) sum[e] += x[e];
    }
  }
  store_sums<D>(team, sum, scratch);
}

// Writes the chunk's sums and maxima.
template <int D, DType T>
__device__ __forceinline__ void write_chunk(const Fp8Team& team, float* out, const StatisticsScratch<D>& scratch) {
  constexpr int kWarps = StatisticsScratch<D>::kWarps;
  if (team.thread() < D) {
    float s = 0.f;
#pragma unroll
    for (int w = 0; w < kWarps; w++) s += scratch.sums[w][team.thread()];
    out[team.thread()] = s;
  } else if (team.thread() < D + D / 2) {
    const int pair = team.thread() - D;
    uint32_t m = 0;
#pragma unroll
    for (int w = 0; w < kWarps; w++) m = Element<T>::max_abs(m, scratch.maxima[w][pair]);
    const float2 two = Element<T>::unpack(m);
    out[D + 2 * pair] = two.x, out[D + 2 * pair + 1] = two.y;
  }
}

// Adds up a head's chunks, and writes what attention needs of them.
template <int D>
__device__ __forceinline__ void finish_statistics(const Fp8Team& team, const PrepassParams& p, int batch,
                                                  int64_t kv_head) {
  const AttentionArgs& a = p.a;
  const int keys = valid_keys(a, batch), step = (keys + kMeanSamples - 1) / kMeanSamples;
  float* result = statistics_of<D>(p, kv_head, p.schedule.chunks.value);
  for (int i = team.thread(); i < 2 * D; i += kTeamThreads) {
    const bool is_sum = i < D;
    float x = 0.f;
#pragma unroll 8
    for (int c = 0; c < p.schedule.chunks.value; c++) {
      const float y = __ldcg(statistics_of<D>(p, kv_head, c) + i);
      x = is_sum ? x + y : fmaxf(x, y);
    }
    if (is_sum) {
      x = keys > 0 ? x / static_cast<float>((keys + step - 1) / step) : 0.f;
      if (a.k_mean != nullptr && i < a.head_dim) const_cast<float*>(a.k_mean)[kv_head * a.head_dim + i] = x;
    } else {
      const_cast<float*>(a.v_scale)[kv_head * D + i - D] = x / 448.f;
    }
    result[i] = x;
  }
}

// A block of V's rows, and with the first one the chunk's keys.
template <int D, DType T>
__device__ __forceinline__ void statistics_block(const Fp8Team& team, const PrepassParams& p, const Fp8Step& step,
                                                 const RowsBuffer<D>& rows, StatisticsScratch<D>& scratch) {
  using Shape = PrepassShape<D>;
  using E = Element<T>;
  if (step.block == 0) sample_keys<D, T>(team, p, step, scratch);
  const int piece = team.thread() % Shape::kLanes, row = team.thread() / Shape::kLanes;
  uint4 most = make_uint4(0u, 0u, 0u, 0u);
  if (step.block > 0) most = scratch.threads[team.thread()];
  if (8 * piece < D) {
#pragma unroll
    for (int i = 0; i < 8; i++) {
      const uint4 x = rows.load8(row + i * Shape::kRowsAtOnce, 8 * piece);
      most.x = E::max_abs(most.x, x.x), most.y = E::max_abs(most.y, x.y);
      most.z = E::max_abs(most.z, x.z), most.w = E::max_abs(most.w, x.w);
    }
  }
  if (!step.ends_unit()) {
    scratch.threads[team.thread()] = most;
    return;
  }
  store_maxima<D, T>(team, most, scratch);
  team.sync();
  const int chunk = step.first / Shape::kBlock / p.schedule.chunk_blocks;
  write_chunk<D, T>(team, statistics_of<D>(p, step.kv_head, chunk), scratch);
  team.sync();
  int32_t* done = p.statistics_done + step.kv_head;
  if (team.thread() == 0) scratch.last = ptx::fetch_add_acq_rel(done, 1) == p.schedule.chunks.value - 1;
  team.sync();
  if (scratch.last == 0) return;
  finish_statistics<D>(team, p, step.batch(p), step.kv_head);
  team.sync();
  if (team.thread() == 0) {
    ptx::add_release(done, 1);
    ptx::add_release(p.images_done + step.kv_head, 1);  // V's scales, which attention reads even where there is no V
  }
}

}  // namespace attn4j
