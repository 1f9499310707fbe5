// The statistics of a kv head that its quantisation needs: the mean of K over sampled keys, the maximum of |V| per
// channel over all keys. A unit takes a chunk of keys; the last one of a head adds up, in the order of the chunks. The
// mean error that rounding left in V is added up in the same way (add_errors).
#pragma once

#include "device/ptx/shared_access.cuh"
#include "quant/fp8_rows.cuh"
#include "quant/fp8_team.cuh"

namespace attn4j {

constexpr int kMeanSamples = 512;  // keys that the K mean is taken over; any shift leaves the softmax unchanged

// What is kept of a kv head, as floats.
template <int D>
struct HeadStatistics {
  float* base;
  int32_t chunks;

  // Sums of sampled keys, and absolute maxima of V, of a chunk.
  __device__ __forceinline__ float* key_sums(int chunk) const { return base + chunk * (2 * D); }
  __device__ __forceinline__ float* v_maxima(int chunk) const { return key_sums(chunk) + D; }
  // The results: what is subtracted from K, and what V is multiplied by. Minus half of the shift in 16-bit elements.
  __device__ __forceinline__ float* shift() const { return key_sums(chunks); }
  __device__ __forceinline__ float* v_factors() const { return shift() + D; }
  __device__ __forceinline__ uint32_t* minus_half_shift() const { return reinterpret_cast<uint32_t*>(shift() + 2 * D); }
  // What rounding took from V, in units of its scale, summed over the keys of a unit.
  __device__ __forceinline__ float* v_errors(int unit) const { return shift() + 2 * D + D / 2 + unit * D; }
};

// Floats of a head's HeadStatistics.
inline __host__ __device__ int64_t head_statistics_size(const Fp8Schedule& s, int d) {
  return int64_t{s.chunks.value + 1} * 2 * d + d / 2 + int64_t{s.kv_units.value} * d;
}

template <int D>
__device__ __forceinline__ HeadStatistics<D> statistics_of(const PrepassParams& p, int64_t kv_head) {
  return {p.statistics + kv_head * head_statistics_size(p.schedule, D), p.schedule.chunks.value};
}

template <int D>
struct StatisticsScratch {
  static constexpr int kWarps = kTeamThreads / 32;
  uint4 threads[kTeamThreads];  // what each thread has found, from block to block
  float sums[kWarps][D];
  int32_t last;
};

// Key of sample i of K: one of each `step` keys, at places that no period of the data follows.
// bench/cpp/sparse_problem.cuh has the same formula.
__device__ __forceinline__ int sampled_key(int i, int step, int keys) {
  const uint32_t place = (i * 40503u & 0xffffu) * static_cast<uint32_t>(step) >> 16;
  return min(i * step + static_cast<int>(place), keys - 1);
}

// Returns when a head's statistics are there. Each warp waits by itself.
__device__ __forceinline__ void await_statistics(const PrepassParams& p, int64_t kv_head) {
  if ((threadIdx.x & 31) == 0) {
    while (ptx::load_acquire(p.statistics_done + kv_head) <= p.schedule.chunks.value) __nanosleep(100);
  }
  __syncwarp();
}

// Sums of the chunk's sampled keys: a few loads per thread, once per chunk. Each warp's lanes of the same channels are
// added up.
template <int D, DType T>
__device__ __forceinline__ void sample_keys(const Fp8Team& team, const PrepassParams& p, const Fp8Step& unit,
                                            StatisticsScratch<D>& scratch) {
  constexpr int kLanes = PrepassShape<D>::kLanes, kRows = kTeamThreads / kLanes;
  const AttentionArgs& a = p.a;
  const int keys = unit.end, step = (keys + kMeanSamples - 1) / kMeanSamples;
  const int first = unit.first, end = min(keys, first + unit.blocks * PrepassShape<D>::kBlock);
  const int piece = team.thread() % kLanes, row = team.thread() / kLanes;
  float sum[8] = {};
  if (a.k_mean != nullptr && step > 0 && 8 * piece < a.head_dim) {
    const auto* k = rows_of<T>(a.k, a.k_stride, unit.batch(p), unit.head) + 8 * piece;
#pragma unroll 4
    for (int i = (first + step - 1) / step + row; i * step < end; i += kRows) {
      float x[8];
      load8<T>(x, k + sampled_key(i, step, keys) * a.k_stride.row, 8, true);
#pragma unroll
      for (int e = 0; e < 8; e++) sum[e] += x[e];
    }
  }
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

// Writes the chunk's sums and maxima, of which each thread has left its own.
template <int D, DType T>
__device__ __forceinline__ void write_chunk(const Fp8Team& team, const HeadStatistics<D>& out, int chunk,
                                            const StatisticsScratch<D>& scratch) {
  using Shape = PrepassShape<D>;
  if (team.thread() < D) {
    float s = 0.f;
#pragma unroll
    for (int w = 0; w < StatisticsScratch<D>::kWarps; w++) s += scratch.sums[w][team.thread()];
    out.key_sums(chunk)[team.thread()] = s;
  } else if (team.thread() < D + D / 2) {
    const int pair = team.thread() - D;
    const auto* words = reinterpret_cast<const uint32_t*>(scratch.threads) + pair;
    uint32_t m = 0;
#pragma unroll
    for (int r = 0; r < Shape::kRowsAtOnce; r++) m = Element<T>::max2(m, words[r * (4 * Shape::kPieces)]);
    const float2 two = Element<T>::unpack(m);
    out.v_maxima(chunk)[2 * pair] = two.x, out.v_maxima(chunk)[2 * pair + 1] = two.y;
  }
}

// What V's channels are multiplied by, so that `most`, the largest of them, becomes the largest e4m3. As an fp16 number
// where that has the range: V is then scaled two values at once.
constexpr float kLargestPackedFactor = 32768.f;
__device__ __forceinline__ float v_factor(float most) {
  const float x = most > 0.f ? 448.f / most : 0.f;
  return x <= kLargestPackedFactor ? __half2float(__float2half_rn(x)) : x;
}

// Adds up a head's chunks, and writes what attention needs of them.
template <int D, DType T>
__device__ __forceinline__ void finish_statistics(const Fp8Team& team, const PrepassParams& p, int batch,
                                                  int64_t kv_head) {
  const AttentionArgs& a = p.a;
  const int keys = valid_keys(a, batch), step = (keys + kMeanSamples - 1) / kMeanSamples;
  const HeadStatistics<D> head = statistics_of<D>(p, kv_head);
  for (int i = team.thread(); i < 2 * D; i += kTeamThreads) {
    const bool is_sum = i < D;
    float x = 0.f;
#pragma unroll 8
    for (int c = 0; c < head.chunks; c++) {
      const float y = __ldcg(head.key_sums(c) + i);  // the maxima follow the sums
      x = is_sum ? x + y : fmaxf(x, y);
    }
    if (is_sum) {
      x = keys > 0 ? x / static_cast<float>((keys + step - 1) / step) : 0.f;
      const auto half = static_cast<typename Element<T>::type>(-0.5f * x);
      reinterpret_cast<typename Element<T>::type*>(head.minus_half_shift())[i] = half;
      x = -2.f * static_cast<float>(half);  // exactly what K loses
      if (a.k_mean != nullptr && i < a.head_dim) const_cast<float*>(a.k_mean)[kv_head * a.head_dim + i] = x;
      head.shift()[i] = x;
    } else {
      const float factor = v_factor(x);
      float* scale = const_cast<float*>(a.v_scale) + kv_head * (2 * D) + i - D;
      *scale = factor > 0.f ? 1.f / factor : x / 448.f;
      if (p.schedule.kv_units.value == 0) scale[D] = 0.f;  // no unit of V will write the mean error
      head.v_factors()[i - D] = factor;
    }
  }
}

// A block of V's rows, and with the first one the chunk's keys.
template <int D, DType T>
__device__ __forceinline__ void statistics_block(const Fp8Team& team, const PrepassParams& p, const Fp8Step& step,
                                                 const RowsBuffer<D>& rows, StatisticsScratch<D>& scratch) {
  using Shape = PrepassShape<D>;
  using E = Element<T>;
  if (step.block == 0) sample_keys<D, T>(team, p, step, scratch);
  if (Shape::kCopiers == kTeamThreads || team.thread() < Shape::kCopiers) {
    constexpr int kPass = Shape::kRowsAtOnce * 2 * D;  // bytes
    const uint32_t at = rows.address(team.thread() / Shape::kPieces, team.thread() % Shape::kPieces);
    uint32_t high[4] = {0u, 0u, 0u, 0u}, low[4] = {0u, 0u, 0u, 0u};
#pragma unroll
    for (int i = 0; i < 8; i += 2) {
      const uint4 a = ptx::load_shared_words4(at + i * kPass), b = ptx::load_shared_words4(at + (i + 1) * kPass);
      const uint32_t x[4] = {a.x, a.y, a.z, a.w}, y[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
      for (int n = 0; n < 4; n++) {
        high[n] = E::number_max2(E::number_max2(high[n], x[n]), y[n]);
        low[n] = E::number_min2(E::number_min2(low[n], x[n]), y[n]);
      }
    }
    uint4 most = make_uint4(0u, 0u, 0u, 0u);
    if (step.block > 0) most = scratch.threads[team.thread()];
    most.x = E::number_max2(E::number_max2(most.x, high[0]), E::neg2(low[0]));
    most.y = E::number_max2(E::number_max2(most.y, high[1]), E::neg2(low[1]));
    most.z = E::number_max2(E::number_max2(most.z, high[2]), E::neg2(low[2]));
    most.w = E::number_max2(E::number_max2(most.w, high[3]), E::neg2(low[3]));
    scratch.threads[team.thread()] = most;
  }
  if (!step.ends_unit()) return;
  team.sync();
  const int chunk = step.first / Shape::kBlock / p.schedule.chunk_blocks;
  write_chunk<D, T>(team, statistics_of<D>(p, step.kv_head), chunk, scratch);
  team.sync();
  int32_t* done = p.statistics_done + step.kv_head;
  if (team.thread() == 0) scratch.last = ptx::fetch_add_acq_rel(done, 1) == p.schedule.chunks.value - 1;
  team.sync();
  if (scratch.last == 0) return;
  finish_statistics<D, T>(team, p, step.batch(p), step.kv_head);
  team.sync();
  if (team.thread() == 0) {
    ptx::add_release(done, 1);
    ptx::add_release(p.images_done + step.kv_head, 1);  // V's scales, which attention reads even where there is no V
  }
}

// Each thread's part of V's rounding errors in 4 channels: kept in the scratch memory from block to block, and at the
// unit's end added up over the threads that share channels, `kSharing` of them, D / 4 threads apart. The head's last
// unit turns the sums into the mean, which attention adds to its output: the weights of a row sum to 1. All threads of
// the team come here.
template <int D, int kSharing>
__device__ __forceinline__ void add_errors(const Fp8Team& team, const PrepassParams& p, const Fp8Step& step, float4 x,
                                           StatisticsScratch<D>& scratch) {
  auto* sums = reinterpret_cast<float4*>(scratch.threads);
  if (step.block > 0) {
    const float4 before = sums[team.thread()];
    x.x += before.x, x.y += before.y, x.z += before.z, x.w += before.w;
  }
  sums[team.thread()] = x;
  if (!step.ends_unit()) return;
  team.sync();
  const HeadStatistics<D> head = statistics_of<D>(p, step.kv_head);
  const int unit = step.first / PrepassShape<D>::kBlock / p.schedule.run, channel = team.thread();
  if (channel < D) {
    float sum = 0.f;
#pragma unroll
    for (int i = 0; i < kSharing; i++) sum += reinterpret_cast<const float*>(sums)[i * D + channel];
    head.v_errors(unit)[channel] = sum;
  }
  team.sync();
  int32_t* done = p.values_done + step.kv_head;
  if (team.thread() == 0) scratch.last = ptx::fetch_add_acq_rel(done, 1) == p.schedule.kv_units.value - 1;
  team.sync();
  if (scratch.last == 0 || channel >= D) return;
  float sum = 0.f;
#pragma unroll 4
  for (int u = 0; u < p.schedule.kv_units.value; u++) sum += __ldcg(head.v_errors(u) + channel);
  float* out = const_cast<float*>(p.a.v_scale) + step.kv_head * (2 * D) + channel;
  const float mean = step.end > 0 ? sum * __ldcg(out) / static_cast<float>(step.end) : 0.f;
  out[D] = fabsf(mean) < kInfinity ? mean : 0.f;  // a value that is no number spoils the rows that see it, not others
}

}  // namespace attn4j
