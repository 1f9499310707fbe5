// The statistics of a kv head that its quantisation needs: the mean of K over sampled keys, the maximum of |V| per
// channel over all keys; and what rounding left of V, for attention. Units that share a result add to it in ways whose
// order doesn't matter: maxima, and sums of integers.
#pragma once

#include "device/ptx/math.cuh"
#include "device/ptx/shared_access.cuh"
#include "quant/fp8_rows.cuh"
#include "quant/fp8_team.cuh"

namespace attn4j {

constexpr int kMeanSamples = 512;  // keys that the K mean is taken over; any shift leaves the softmax unchanged

// What is kept of a kv head, as floats.
template <int D>
struct HeadStatistics {
  static constexpr int kSize = 2 * D + D / 2;
  float* base;

  // The largest |v| of each channel, zeroed before: as integers, floats that are not negative have the same order.
  __device__ __forceinline__ int32_t* v_maxima() const { return reinterpret_cast<int32_t*>(base); }
  // What is subtracted from K, and minus half of it in 16-bit elements.
  __device__ __forceinline__ float* shift() const { return base + D; }
  __device__ __forceinline__ uint32_t* minus_half_shift() const { return reinterpret_cast<uint32_t*>(base + 2 * D); }
};

// HeadStatistics::kSize of a kernel's head_dim.
inline __host__ __device__ int64_t head_statistics_size(int compiled_d) { return 2 * compiled_d + compiled_d / 2; }

template <int D>
__device__ __forceinline__ HeadStatistics<D> statistics_of(const PrepassParams& p, int64_t kv_head) {
  return {p.statistics + kv_head * HeadStatistics<D>::kSize};
}

template <int D>
struct StatisticsScratch {
  static constexpr int kWarps = kTeamThreads / 32;
  uint4 threads[kTeamThreads];  // what each thread has found, from block to block; K's shift, for each warp
  union {
    float sums[kWarps][D];
    float4 factors[kTeamThreads];  // of each thread's channels of V
  };
};

// Key of sample i of K: one of each `step` keys, at places that no period of the data follows.
// bench/cpp/sparse_problem.cuh has the same formula.
__device__ __forceinline__ int sampled_key(int i, int step, int keys) {
  const uint32_t place = (i * 40503u & 0xffffu) * static_cast<uint32_t>(step) >> 16;
  return min(i * step + static_cast<int>(place), keys - 1);
}

// Return when a head's statistics are there: the mean of K, the maxima of V. Each warp waits by itself.
__device__ __forceinline__ void await_count(const int32_t* done, int32_t wanted) {
  if ((threadIdx.x & 31) == 0) {
    while (ptx::load_acquire(done) < wanted) __nanosleep(100);
  }
  __syncwarp();
}
__device__ __forceinline__ void await_mean(const PrepassParams& p, int32_t kv_head) {
  await_count(p.means_done + kv_head, 1);
}
__device__ __forceinline__ void await_maxima(const PrepassParams& p, int32_t kv_head) {
  await_count(p.maxima_done + kv_head, p.schedule.section(kv_head).statistics.value - 1);
}

// The mean of the sampled keys, whose rounded half is what K loses.
template <int D, DType T>
__device__ __forceinline__ void mean_of_keys(const Fp8Team& team, const PrepassParams& p, const Fp8Step& unit,
                                             StatisticsScratch<D>& scratch) {
  using Number = typename Element<T>::type;
  constexpr int kLanes = PrepassShape<D>::kLanes, kRows = kTeamThreads / kLanes;
  const AttentionArgs& a = p.a;
  if (a.k_mean == nullptr) return;
  const int keys = unit.end, step = max(1, (keys + kMeanSamples - 1) / kMeanSamples);
  const int samples = (keys + step - 1) / step;
  const int piece = team.thread() % kLanes, row = team.thread() / kLanes;
  float sum[8] = {};
  if (8 * piece < a.head_dim) {
    const auto* k = rows_of<T>(a.k, a.k_stride, unit.batch(p), unit.head) + 8 * piece;
#pragma unroll 16
    for (int i = row; i < samples; i += kRows) {
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
  const int lane = team.thread() % 32, channel = team.thread();
  if (lane < D / 8) {
#pragma unroll
    for (int e = 0; e < 8; e++) scratch.sums[team.thread() / 32][8 * lane + e] = sum[e];
  }
  team.sync();
  if (channel >= D) return;
  float x = 0.f;
#pragma unroll
  for (int w = 0; w < StatisticsScratch<D>::kWarps; w++) x += scratch.sums[w][channel];
  const auto half = static_cast<Number>(samples > 0 ? -0.5f * x / static_cast<float>(samples) : 0.f);
  const HeadStatistics<D> head = statistics_of<D>(p, unit.kv_head);
  reinterpret_cast<Number*>(head.minus_half_shift())[channel] = half;
  x = -2.f * static_cast<float>(half);  // exactly what K loses
  head.shift()[channel] = x;
  if (channel < a.head_dim) const_cast<float*>(a.k_mean)[int64_t{unit.kv_head} * a.head_dim + channel] = x;
}

// What V's channels are multiplied by, so that `most`, the largest of them, becomes the largest e4m3. As an fp16 number
// where that has the range: V is then scaled two values at once.
constexpr float kLargestPackedFactor = 32768.f;
__device__ __forceinline__ float v_factor(float most) {
  const float x = most > 0.f ? fminf(448.f * ptx::rcp_approx(most), 0x1p120f) : 0.f;
  return x <= kLargestPackedFactor ? __half2float(__float2half_rn(x)) : x;
}

// What undoes it. An infinite value has the factor 0.
__device__ __forceinline__ float v_scale(float most, float factor) {
  return factor > 0.f ? 1.f / factor : most / 448.f;
}

// Adds a block of V's rows to the maxima.
template <int D, DType T>
__device__ __forceinline__ void maxima_of_values(const Fp8Team& team, const PrepassParams& p, const Fp8Step& step,
                                                 const RowsBuffer<D>& rows, StatisticsScratch<D>& scratch) {
  using Shape = PrepassShape<D>;
  using E = Element<T>;
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
  const int pair = team.thread();
  if (pair >= D / 2) return;
  const auto* words = reinterpret_cast<const uint32_t*>(scratch.threads) + pair;
  uint32_t m = 0;
#pragma unroll
  for (int r = 0; r < Shape::kRowsAtOnce; r++) m = E::max2(m, words[r * (4 * Shape::kPieces)]);
  const float2 two = E::unpack(m);
  int32_t* out = statistics_of<D>(p, step.kv_head).v_maxima() + 2 * pair;
  atomicMax(out, __float_as_int(two.x));
  atomicMax(out + 1, __float_as_int(two.y));
}

// Each thread's part of V's rounding errors in 4 channels: kept in the scratch memory from block to block, and at the
// unit's end added up over the threads that share channels, `kSharing` of them, D / 4 threads apart. Attention adds the
// mean error to its output: the weights of a row sum to 1. All threads of the team come here.
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
  const int channel = team.thread();
  if (channel >= D) return;
  float sum = 0.f;
#pragma unroll
  for (int i = 0; i < kSharing; i++) sum += reinterpret_cast<const float*>(sums)[i * D + channel];
  sum *= 1.f / p.a.v_error_unit;
  // A value that is no number spoils the rows that see it, not others.
  if (!(fabsf(sum) < 0x1p22f)) return;
  auto* out = reinterpret_cast<int32_t*>(const_cast<float*>(p.a.v_scale)) + int64_t{step.kv_head} * (2 * D) + D;
  atomicAdd(out + channel, __float2int_rn(sum));
}

}  // namespace attn4j
