// Attention in fp64 for hard data, with what rounding may be expected to do to each row: a model of the errors, from
// which the bars of hard_check.cuh come.
#pragma once

#include <cstdint>

#include "accuracy.cuh"

namespace attn4j_bench {

// How a kernel rounds.
struct Rounding {
  bool int8_scores = false;  // Q and K to INT8
  int key_group = 1;         // neighbouring keys that share a scale; 8 means the groups {32g + 8i + 2t + e}
  double p = 0, v = 0;       // relative error of a probability and of a value, root mean square
  double v_floor = 0;        // half a step of the smallest codes, relative to the largest of the channel
};

// Per kv head and channel.
struct ChannelStatistics {
  double sum = 0, v_largest = 0;
};

struct HardRow {
  double model1;  // expected sum of |error| over the channels
  double error1, ref1, bias, lse_error, lse_model;
  int wrong, compared;  // elements that are NaN, inf or finite where the reference is something else
};

__device__ __forceinline__ bool is_finite(double x) { return fabs(x) < INFINITY; }

// Grid (b * hkv, slices), d threads. `valid`: rows that exist.
static __global__ void channel_statistics(AttentionParams p, int64_t valid, ChannelStatistics* out) {
  const int64_t heads = p.k.size[1], d = p.k.size[3], b = blockIdx.x / heads, h = blockIdx.x % heads, c = threadIdx.x;
  double sum = 0, largest = 0;
  for (int64_t j = blockIdx.y; j < valid; j += gridDim.y) {
    const double k = load(p.k, element(p.k, TensorLayout::kHND, b, h, j, c));
    const double v = load(p.v, element(p.v, TensorLayout::kHND, b, h, j, c));
    if (is_finite(k)) sum += k;
    if (is_finite(v)) largest = fmax(largest, fabs(v));
  }
  atomicAdd(&out[blockIdx.x * d + c].sum, sum);
  atomic_max(&out[blockIdx.x * d + c].v_largest, largest);
}

// Per key: the largest channel of K minus its mean, and the sum of the squares. A thread per key.
static __global__ void key_sizes(AttentionParams p, int64_t valid, const ChannelStatistics* channels, float2* out) {
  const int64_t heads = p.k.size[1], rows = p.k.size[2], d = p.k.size[3];
  const int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (i >= p.k.size[0] * heads * rows) return;
  const int64_t head = i / rows, j = i % rows;
  double largest = 0, squares = 0;
  for (int64_t c = 0; c < d && j < valid; c++) {
    const double mean = channels[head * d + c].sum / static_cast<double>(valid);
    const double x = load(p.k, element(p.k, TensorLayout::kHND, head / heads, head % heads, j, c)) - mean;
    if (is_finite(x)) largest = fmax(largest, fabs(x)), squares += x * x;
  }
  out[i] = make_float2(static_cast<float>(largest), static_cast<float>(squares));
}

// Step of the INT8 codes of key j: of the largest number in its group.
__device__ __forceinline__ double key_step(const float2* sizes, int64_t j, int64_t rows, int group) {
  float largest = 0;
  if (group == 8) {
    for (int i = 0; i < 8; i++) {
      const int64_t n = (j & ~int64_t{31}) + 8 * (i >> 1) + (j & 6) + (i & 1);
      if (n < rows) largest = fmaxf(largest, sizes[n].x);
    }
  } else {
    for (int64_t n = j / group * group; n < j / group * group + group && n < rows; n++)
      largest = fmaxf(largest, sizes[n].x);
  }
  return largest / 127.;
}

static __global__ void key_steps(const float2* sizes, int64_t rows, int64_t count, int group, float* out) {
  const int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x;
  if (i < count) out[i] = static_cast<float>(key_step(sizes + i / rows * rows, i % rows, rows, group));
}

constexpr int kHardThreads = 256;

// The sum of x over the block, or the maximum; a NaN stays one.
template <bool kMaximum = false>
__device__ __forceinline__ double of_block(double x) {
  __shared__ double all[kHardThreads];
  all[threadIdx.x] = x;
  __syncthreads();
  for (int n = kHardThreads / 2; n > 0; n /= 2) {
    if (threadIdx.x < n) {
      const double a = all[threadIdx.x], b = all[threadIdx.x + n];
      all[threadIdx.x] = kMaximum ? (a > b || a != a ? a : b) : a + b;
    }
    __syncthreads();
  }
  const double result = all[0];
  __syncthreads();
  return result;
}

// One block per row of `rows` (batch * hq + head, row). scratch: [blocks][lk] doubles: the weights; noise: [blocks][lk]
// floats: variance of the relative error that rounding gives a probability.
static __global__ void __launch_bounds__(kHardThreads)
    hard_reference(AttentionParams p, int64_t valid, Rounding rounding, const int64_t* rows,
                   const ChannelStatistics* channels, const float2* sizes, const float* steps, double* scratch,
                   float* noise, HardRow* result) {
  const int64_t hq = p.q.size[1], lq = p.q.size[2], d = p.q.size[3], hkv = p.k.size[1], lk_all = p.k.size[2];
  const int64_t head = rows[blockIdx.x] / lq, row = rows[blockIdx.x] % lq, b = head / hq, h = head % hq;
  const int64_t g = h / (hq / hkv), kv = b * hkv + g;
  int64_t lk = p.kv_lengths != nullptr ? static_cast<const int32_t*>(p.kv_lengths)[b] : lk_all;
  if (p.is_causal) {
    const int64_t offset = p.causal_alignment == attn4j::CausalAlignment::kTopLeft ? 0 : lk_all - lq;
    lk = max(int64_t{0}, min(lk, row + offset + 1));
  }
  const double scale = p.has_sm_scale ? p.sm_scale : 1. / sqrt(static_cast<double>(d));
  __shared__ double q[256];
  double q_squares = 0, q_largest = 0;
  for (int64_t c = 0; c < d; c++) {
    const double x = load(p.q, element(p.q, TensorLayout::kHND, b, h, row, c));
    if (threadIdx.x == 0) q[c] = x;
    q_squares += x * x, q_largest = fmax(q_largest, fabs(x));
  }
  __syncthreads();
  double* w = scratch + blockIdx.x * lk_all;
  float* variance = noise + blockIdx.x * lk_all;
  const double q_step = q_largest / 127.;
  double top = -INFINITY;
  for (int64_t j = threadIdx.x; j < lk; j += kHardThreads) {
    double s = 0;
    for (int64_t c = 0; c < d; c++) s += q[c] * load(p.k, element(p.k, TensorLayout::kHND, b, g, j, c));
    w[j] = s * scale;
    top = top > w[j] || top != top ? top : w[j];
    double v = rounding.p * rounding.p;
    if (rounding.int8_scores) {
      const double k_step = steps[kv * lk_all + j];
      v += scale * scale / 12. * (q_step * q_step * sizes[kv * lk_all + j].y + k_step * k_step * q_squares);
    }
    variance[j] = static_cast<float>(v);
  }
  top = of_block<true>(top);
  double sum = 0;
  for (int64_t j = threadIdx.x; j < lk; j += kHardThreads) sum += w[j] = exp(w[j] - top);
  sum = of_block(sum);
  // Of the weights' sum. What rounding Q does to the scores is no different for each key: it adds up along the keys'
  // weighted mean.
  double all_variance = 0, lse_variance = 0;
  for (int64_t j = threadIdx.x; j < lk; j += kHardThreads) {
    w[j] /= sum;
    const double own = steps[kv * lk_all + j] * scale, n = rounding.int8_scores ? own * own / 12. * q_squares : 0.;
    all_variance += w[j] * w[j] * variance[j];
    lse_variance += w[j] * w[j] * (rounding.p * rounding.p + n);
  }
  all_variance = of_block(all_variance), lse_variance = of_block(lse_variance);

  HardRow mine = {};
  const double eps = p.o.dtype == DType::kFloat16 ? 0x1p-12 : 0x1p-9;  // of the output's rounding, root mean square
  for (int64_t c = 0; c < d; c++) {                                    // the block shares the keys of a channel
    double ref = 0, first = 0, second = 0, own = 0, key = 0;
    const double step = rounding.v_floor * channels[kv * d + c].v_largest;
    for (int64_t j = threadIdx.x; j < lk; j += kHardThreads) {
      const double v = load(p.v, element(p.v, TensorLayout::kHND, b, g, j, c)), n = w[j] * w[j] * variance[j];
      ref += w[j] * v;
      key += w[j] * load(p.k, element(p.k, TensorLayout::kHND, b, g, j, c));
      first += n * v, second += n * v * v;
      own += w[j] * w[j] * (rounding.v * rounding.v * v * v + step * step / 3.);
    }
    ref = of_block(ref), first = of_block(first), second = of_block(second), own = of_block(own);
    key = of_block(key) - channels[kv * d + c].sum / static_cast<double>(valid);
    if (rounding.int8_scores) lse_variance += scale * scale / 12. * q_step * q_step * key * key;
    if (threadIdx.x != 0) continue;
    if (lk == 0) ref = first = second = own = 0;
    const double o = load(p.o, element(p.o, TensorLayout::kHND, b, h, row, c));
    mine.compared++;
    if (is_finite(ref) != is_finite(o) || (!is_finite(ref) && !(ref == o || (ref != ref && o != o)))) mine.wrong++;
    if (!is_finite(ref) || !is_finite(o)) continue;
    // What is common to all keys cancels against the normaliser: sum of n (v - ref)^2.
    const double v2 = second - 2 * ref * first + ref * ref * all_variance + own + eps * eps * ref * ref;
    mine.model1 += sqrt(2. / M_PI) * sqrt(fmax(v2, 0.));
    mine.error1 += fabs(o - ref), mine.ref1 += fabs(ref), mine.bias += o - ref;
  }
  if (threadIdx.x != 0) return;
  const double expected = lk > 0 ? top + log(sum) : -INFINITY;
  if (p.lse != nullptr) {
    const double lse = static_cast<const float*>(p.lse)[head * lq + row];
    mine.compared++;
    if (is_finite(lse) != is_finite(expected) ||
        (!is_finite(lse) && !(lse == expected || (lse != lse && expected != expected))))
      mine.wrong++;
    if (is_finite(lse) && is_finite(expected)) {
      mine.lse_error = fabs(lse - expected), mine.lse_model = sqrt(lse_variance);
    }
  }
  result[blockIdx.x] = mine;
}

}  // namespace attn4j_bench
