// The statistics of a kv head that its quantisation needs: means of K and V over sampled keys, the extremes of V per
// channel over all keys; and what rounding left of V, for attention. They are made of what is finite. Units that share
// a result add to it in ways whose order doesn't matter: maxima, and sums of integers.
#pragma once

#include "device/ptx/math.cuh"
#include "device/ptx/shared_access.cuh"
#include "quant/fp8_rows.cuh"
#include "quant/fp8_team.cuh"
#include "quant/quantize.h"
#include "quant/samples.cuh"

namespace attn4j {

constexpr int kFirstKeys = 16;  // that have a say in V's mean

// Floats as integers in the same order, and back.
__device__ __forceinline__ int32_t ordered(float x) {
  const int32_t i = __float_as_int(x);
  return i ^ (i >> 31 & 0x7fffffff);
}
__device__ __forceinline__ float from_ordered(int32_t i) { return __int_as_float(i ^ (i >> 31 & 0x7fffffff)); }

// What is kept of a kv head, as floats.
template <int D>
struct HeadStatistics {
  static constexpr int kSize = 4 * D + D / 2;
  float* base;

  // The largest v of each channel, and the largest -v: `ordered`, and minus infinity before.
  __device__ __forceinline__ int32_t* v_highest() const { return reinterpret_cast<int32_t*>(base); }
  __device__ __forceinline__ int32_t* v_lowest() const { return v_highest() + D; }
  // What is subtracted from K, and minus half of it in 16-bit elements.
  __device__ __forceinline__ float* shift() const { return base + 2 * D; }
  __device__ __forceinline__ uint32_t* minus_half_shift() const { return reinterpret_cast<uint32_t*>(base + 3 * D); }
  // What is to be subtracted from V.
  __device__ __forceinline__ float* v_mean() const { return base + 3 * D + D / 2; }
};

// HeadStatistics::kSize of a kernel's head_dim.
inline __host__ __device__ int64_t head_statistics_size(int compiled_d) { return 4 * compiled_d + compiled_d / 2; }

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
    uint4 lowest[kTeamThreads];      // of V, beside the highest in `threads`
    uint4 transforms[kTeamThreads];  // ValueTransform of each thread's channels of V
  };
};

// Return when a head's statistics are there: the mean of K, those of V. Each warp waits by itself.
__device__ __forceinline__ void await_count(const int32_t* done, int32_t wanted) {
  if ((threadIdx.x & 31) == 0) {
    while (ptx::load_acquire(done) < wanted) __nanosleep(100);
  }
  __syncwarp();
}
__device__ __forceinline__ void await_mean(const PrepassParams& p, int32_t kv_head) {
  await_count(p.means_done + kv_head, 1);
}
__device__ __forceinline__ void await_v_statistics(const PrepassParams& p, int32_t kv_head) {
  await_count(p.v_done + kv_head, p.schedule.section(kv_head).statistics.value - 1);
}

// Adds up what the threads of a team have found of 8 channels each, where lanes that share a row are neighbours.
template <int D>
__device__ __forceinline__ void sum_over_rows(const Fp8Team& team, float (&sum)[8], StatisticsScratch<D>& scratch) {
#pragma unroll
  for (int o = PrepassShape<D>::kLanes; o < 32; o <<= 1) {
#pragma unroll
    for (int e = 0; e < 8; e++) sum[e] += __shfl_xor_sync(kFullWarp, sum[e], o);
  }
  const int lane = team.thread() % 32;
  if (lane < D / 8) {
#pragma unroll
    for (int e = 0; e < 8; e++) scratch.sums[team.thread() / 32][8 * lane + e] = sum[e];
  }
  team.sync();
}

// The sum of a channel then; 0 if it isn't finite, or no channel.
template <int D>
__device__ __forceinline__ float summed(int channel, const StatisticsScratch<D>& scratch) {
  float x = 0.f;
  if (channel < D) {
#pragma unroll
    for (int w = 0; w < StatisticsScratch<D>::kWarps; w++) x += scratch.sums[w][channel];
  }
  return fabsf(x) < kInfinity ? x : 0.f;
}

// Samples of a tensor's rows, and the lanes that share one.
template <int D, DType T, bool kListed>
struct Samples {
  using Number = typename Element<T>::type;
  static constexpr int kLanes = PrepassShape<D>::kLanes, kRows = kTeamThreads / kLanes;
  const Number* rows;  // this thread's piece of the first one
  int64_t pitch;
  const int32_t* places;  // if kListed
  SampledKeys keys;
  int piece, row;
  bool exists;  // this thread has channels

  __device__ __forceinline__ Samples(const Fp8Team& team, const PrepassParams& p, const Fp8Step& unit, const void* x,
                                     const Strides& stride, int most)
      : pitch(stride.row), places(kListed ? key_places(p.a, unit.batch(p)) : nullptr), keys(unit.end, most) {
    piece = team.thread() % kLanes, row = team.thread() / kLanes;
    exists = 8 * piece < p.a.head_dim;
    rows = rows_of<T>(x, stride, unit.batch(p), unit.head) + 8 * piece;
  }

  __device__ __forceinline__ const Number* at(int key) const {
    return rows + (kListed ? place_of_key(places, key) : key) * pitch;
  }
  __device__ __forceinline__ void load(float (&x)[8], int key) const { load8<T>(x, at(key), 8, true); }

  // The sum of channel team.thread() over the samples, of what is finite; for threads below D.
  __device__ __forceinline__ float sum(const Fp8Team& team, StatisticsScratch<D>& scratch) const {
    float sum[8] = {};
    [[maybe_unused]] constexpr int kAtOnce = kListed ? 4 : 8;  // addresses of listed rows take registers
    if (exists) {
#pragma unroll kAtOnce
      for (int i = row; i < keys.count; i += kRows) {
        float x[8];
        load(x, keys.key(i));
#pragma unroll
        for (int e = 0; e < 8; e++) sum[e] += x[e];
      }
    }
    float all = 0.f;
#pragma unroll
    for (int e = 0; e < 8; e++) all += fabsf(sum[e]);
    if (!(all < kInfinity)) sum_finite(sum);
    sum_over_rows<D>(team, sum, scratch);
    return summed<D>(team.thread(), scratch);
  }

 private:
  __device__ __forceinline__ void sum_finite(float (&sum)[8]) const {
#pragma unroll
    for (int e = 0; e < 8; e++) sum[e] = 0.f;
#pragma unroll 1
    for (int i = row; i < keys.count; i += kRows) {
      float x[8];
      load(x, keys.key(i));
#pragma unroll
      for (int e = 0; e < 8; e++) sum[e] += fabsf(x[e]) < kInfinity ? x[e] : 0.f;
    }
  }
};

// The mean of the sampled keys, whose rounded half is what K loses.
template <int D, DType T, bool kListed>
__device__ __forceinline__ void mean_of_keys(const Fp8Team& team, const PrepassParams& p, const Fp8Step& unit,
                                             StatisticsScratch<D>& scratch) {
  using Number = typename Element<T>::type;
  const AttentionArgs& a = p.a;
  if (a.k_mean == nullptr) return;
  const Samples<D, T, kListed> samples(team, p, unit, a.k, a.k_stride, kMeanKeys);
  float x = samples.sum(team, scratch);
  const int channel = team.thread();
  if (channel >= D) return;
  const auto half =
      static_cast<Number>(samples.keys.count > 0 ? -0.5f * x / static_cast<float>(samples.keys.count) : 0.f);
  const HeadStatistics<D> head = statistics_of<D>(p, unit.kv_head);
  reinterpret_cast<Number*>(head.minus_half_shift())[channel] = half;
  x = -2.f * static_cast<float>(half);  // exactly what K loses
  head.shift()[channel] = x;
  if (channel < a.head_dim) const_cast<float*>(a.k_mean)[int64_t{unit.kv_head} * a.head_dim + channel] = x;
}

// The rows that V's mean is made of, in shared memory: the first keys, then as many samples as fill the block.
template <int D, DType T, bool kListed>
__device__ __forceinline__ void fetch_sampled_values(const Fp8Team& team, const PrepassParams& p, const Fp8Step& unit,
                                                     const SampledKeys& samples, const RowsBuffer<D>& to) {
  using Shape = PrepassShape<D>;
  const AttentionArgs& a = p.a;
  const int thread = team.thread(), piece = thread % Shape::kPieces, row = thread / Shape::kPieces;
  if (Shape::kCopiers < kTeamThreads && thread >= Shape::kCopiers) return;
  const auto* from =
      reinterpret_cast<const unsigned char*>(rows_of<T>(a.v, a.v_stride, unit.batch(p), unit.head)) + 16 * piece;
  const uint32_t target = to.address(row, piece);
#pragma unroll 2
  for (int i = 0; i < 8; i++) {
    const int r = row + i * Shape::kRowsAtOnce, sample = r - kFirstKeys;
    const bool copies = 8 * piece < a.head_dim && (sample < 0 ? r < unit.end : sample < samples.count);
    const int key = !copies ? 0 : sample < 0 ? r : samples.key(sample);
    const int64_t place = kListed && copies ? place_of_key(key_places(a, unit.batch(p)), key) : key;
    ptx::cp_async_16(target + i * (Shape::kRowsAtOnce * D * 2), from + 2 * place * a.v_stride.row, copies);
  }
}

// The mean of the sampled values, if all of them, and those of the first keys, are closer to it than to zero. A key
// that has much of a row's weight is rounded by itself: e4m3 is finest around zero, and there the values of attention
// sinks lie, whatever the mean of the others is.
template <int D, DType T, bool kListed>
__device__ __forceinline__ void mean_of_values(const Fp8Team& team, const PrepassParams& p, const Fp8Step& unit,
                                               const RowsBuffer<D>& rows, StatisticsScratch<D>& scratch) {
  using Shape = PrepassShape<D>;
  constexpr int kLanes = Shape::kLanes, kRows = kTeamThreads / kLanes, kMost = Shape::kBlock - kFirstKeys;
  static_assert(8 * kRows == Shape::kBlock);
  const SampledKeys samples(unit.end, kMost);
  fetch_sampled_values<D, T, kListed>(team, p, unit, samples, rows);
  ptx::cp_async_commit();
  ptx::cp_async_wait<0>();
  team.sync();
  const int piece = team.thread() % kLanes, first_row = team.thread() / kLanes;
  float sum[8] = {};
#pragma unroll 2
  for (int i = 0; i < 8; i++) {
    const int row = first_row + i * kRows;
    float x[8];
    load_row8<D, T>(x, rows, row, piece);
#pragma unroll
    for (int e = 0; e < 8; e++) sum[e] += row >= kFirstKeys && fabsf(x[e]) < kInfinity ? x[e] : 0.f;
  }
  sum_over_rows<D>(team, sum, scratch);
  const int channel = team.thread();
  auto* means = reinterpret_cast<float*>(scratch.threads);
  const float mean = samples.count > 0 ? summed<D>(channel, scratch) / static_cast<float>(samples.count) : 0.f;
  if (channel < D) means[channel] = mean;
  team.sync();
  bool contradicts = false;
#pragma unroll 2
  for (int i = 0; i < 8; i++) {
    const int row = first_row + i * kRows;
    float closer = 0.f, x[8];  // |v|^2 - |v - mean|^2
    load_row8<D, T>(x, rows, row, piece);
#pragma unroll
    for (int e = 0; e < 8; e++) {
      const float m = piece < Shape::kPieces ? means[8 * piece + e] : 0.f;
      closer = fmaf(m, 2.f * x[e] - m, closer);
    }
#pragma unroll
    for (int o = 1; o < kLanes; o <<= 1) closer += __shfl_xor_sync(kFullWarp, closer, o);
    contradicts |= closer < 0.f && (row < kFirstKeys ? row < unit.end : row - kFirstKeys < samples.count);
  }
  const bool none = team.any(contradicts);
  if (channel < D) statistics_of<D>(p, unit.kv_head).v_mean()[channel] = none ? 0.f : mean;
}

// Whether no key of a head can be a sink with values near zero, of all keys: in some channel none comes near. For
// warps.
template <int D>
__device__ __forceinline__ bool all_values_differ_from_zero(const HeadStatistics<D>& head) {
  constexpr float kNear = 0.125f;  // of the mean
  bool found = false;
#pragma unroll
  for (int c = threadIdx.x % 32; c < D; c += 32) {
    const float bound = kNear * __ldcg(head.v_mean() + c);
    const float highest = from_ordered(__ldcg(head.v_highest() + c));
    const float lowest = -from_ordered(__ldcg(head.v_lowest() + c));
    found |= (bound > 0.f && lowest > bound) || (bound < 0.f && highest < bound);
  }
  return __any_sync(kFullWarp, found);
}

// A channel of V becomes v * factor - shift, which is at most 448, the largest e4m3. Both are numbers of bf16, so that
// what is rounded is V alone, and of fp16 where that has the range: V is then transformed two values at once.
struct ValueTransform {
  float factor, shift;

  __device__ __forceinline__ ValueTransform(float highest, float lowest, float mean) {
    // Rounding the shift moves values by at most 2^-9 of it.
    const float most = fmaf(fabsf(mean), 0x1p-8f, fmaxf(highest - mean, mean - lowest));
    const float x = most > 0.f ? fminf(448.f * ptx::rcp_approx(most), 0x1p120f) : 0.f;
    factor = __uint_as_float(__float_as_uint(x) & 0xffff0000u);
    shift = __bfloat162float(__float2bfloat16_rn(mean * factor));
  }
  __device__ __forceinline__ explicit ValueTransform(uint32_t word) {
    factor = __uint_as_float(word << 16), shift = __uint_as_float(word & 0xffff0000u);
  }
  __device__ __forceinline__ uint32_t word() const { return __float_as_uint(factor) >> 16 | __float_as_uint(shift); }

  __device__ __forceinline__ float operator()(float v) const { return fmaf(v, factor, -shift); }
  __device__ __forceinline__ bool fits_fp16() const { return factor <= 32768.f && fabsf(shift) <= 2048.f; }
  // What undoes it: v = code * scale + mean.
  __device__ __forceinline__ float scale() const { return factor > 0.f ? 1.f / factor : 0.f; }
  __device__ __forceinline__ float mean() const { return shift * scale(); }
};

// The extremes of a thread's 8 rows of V that leave out what is not finite.
template <int D, DType T>
__device__ __forceinline__ void finite_extremes(uint32_t rows, uint32_t (&high)[4], uint32_t (&low)[4]) {
  using E = Element<T>;
  const uint32_t infinity = E::pack(kInfinity, kInfinity);
#pragma unroll
  for (int n = 0; n < 4; n++) {
    high[n] = E::neg2(infinity), low[n] = infinity;
#pragma unroll 1
    for (int i = 0; i < 8; i++) {
      const uint32_t word = ptx::load_shared_int(rows + i * (PrepassShape<D>::kRowsAtOnce * 2 * D) + 4 * n);
      const float2 x = E::unpack(word);
      const bool a = fabsf(x.x) < kInfinity, b = fabsf(x.y) < kInfinity;
      high[n] = E::max2(high[n], E::pack(a ? x.x : -kInfinity, b ? x.y : -kInfinity));
      low[n] = E::min2(low[n], E::pack(a ? x.x : kInfinity, b ? x.y : kInfinity));
    }
  }
}

// Adds a block of V's rows to the extremes.
template <int D, DType T>
__device__ __forceinline__ void extremes_of_values(const Fp8Team& team, const PrepassParams& p, const Fp8Step& step,
                                                   const RowsBuffer<D>& rows, StatisticsScratch<D>& scratch) {
  using Shape = PrepassShape<D>;
  using E = Element<T>;
  if (Shape::kCopiers == kTeamThreads || team.thread() < Shape::kCopiers) {
    constexpr int kPass = Shape::kRowsAtOnce * 2 * D;  // bytes
    const uint32_t at = rows.address(team.thread() / Shape::kPieces, team.thread() % Shape::kPieces);
    uint32_t high[4], low[4];
#pragma unroll
    for (int i = 0; i < 8; i += 2) {
      const uint4 a = ptx::load_shared_words4(at + i * kPass), b = ptx::load_shared_words4(at + (i + 1) * kPass);
      const uint32_t x[4] = {a.x, a.y, a.z, a.w}, y[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
      for (int n = 0; n < 4; n++) {
        high[n] = i == 0 ? E::max2(x[n], y[n]) : E::max2(E::max2(high[n], x[n]), y[n]);
        low[n] = i == 0 ? E::min2(x[n], y[n]) : E::min2(E::min2(low[n], x[n]), y[n]);
      }
    }
    uint32_t all = 0;
#pragma unroll
    for (int n = 0; n < 4; n++) all = E::max2(E::max2(all, high[n]), E::neg2(low[n]));
    const float2 two = E::unpack(all);
    if (!(two.x < kInfinity && two.y < kInfinity)) {
      finite_extremes<D, T>(at, high, low);
      const_cast<float*>(p.a.v_scale)[int64_t{step.kv_head} * v_scale_size(D) + 3 * D] = 1.f;
    }
    if (step.block > 0) {
      const uint4 h = scratch.threads[team.thread()], l = scratch.lowest[team.thread()];
      high[0] = E::max2(high[0], h.x), high[1] = E::max2(high[1], h.y);
      high[2] = E::max2(high[2], h.z), high[3] = E::max2(high[3], h.w);
      low[0] = E::min2(low[0], l.x), low[1] = E::min2(low[1], l.y);
      low[2] = E::min2(low[2], l.z), low[3] = E::min2(low[3], l.w);
    }
    scratch.threads[team.thread()] = make_uint4(high[0], high[1], high[2], high[3]);
    scratch.lowest[team.thread()] = make_uint4(low[0], low[1], low[2], low[3]);
  }
  if (!step.ends_unit()) return;
  team.sync();
  const int pair = team.thread() % (kTeamThreads / 2);
  if (pair >= D / 2) return;
  // Half of the threads join the highest numbers, the others the lowest.
  const bool lowest = team.thread() >= kTeamThreads / 2;
  const auto* words = reinterpret_cast<const uint32_t*>(lowest ? scratch.lowest : scratch.threads) + pair;
  const uint32_t sign = lowest ? 0x80008000u : 0u;
  uint32_t m = words[0] ^ sign;
#pragma unroll
  for (int r = 1; r < Shape::kRowsAtOnce; r++) m = E::max2(m, words[r * (4 * Shape::kPieces)] ^ sign);
  const float2 two = E::unpack(m);
  const HeadStatistics<D> head = statistics_of<D>(p, step.kv_head);
  int32_t* out = (lowest ? head.v_lowest() : head.v_highest()) + 2 * pair;
  atomicMax(out, ordered(two.x));
  atomicMax(out + 1, ordered(two.y));
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
  auto* out = reinterpret_cast<int32_t*>(const_cast<float*>(p.a.v_scale)) + int64_t{step.kv_head} * v_scale_size(D) + D;
  atomicAdd(out + channel, __float2int_rn(sum));
}

}  // namespace attn4j
