// Accuracy of an attention result against fp64, on the GPU: inputs with known statistics, a reference written as
// plainly as possible, and the figures of merit of the SageAttention papers (cosine similarity, relative L1, RMSE).
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "attn4j/attn4j.h"
#include "launch.cuh"

namespace attn4j_bench {

using attn4j::AttentionParams;
using attn4j::DType;
using attn4j::TensorLayout;
using attn4j::TensorView;

__device__ __forceinline__ uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

// N(0, 1) from a counter.
__device__ __forceinline__ float normal(uint64_t seed, uint64_t i) {
  const uint64_t r = mix(mix(seed) ^ mix(i + 0x9e3779b97f4a7c15ull));
  const float u = (static_cast<float>(static_cast<uint32_t>(r)) + 1.f) * 2.3283064e-10f;
  const float w = static_cast<float>(static_cast<uint32_t>(r >> 32)) * 2.3283064e-10f;
  return sqrtf(-2.f * logf(fminf(u, 1.f))) * cospif(2.f * w);
}

__device__ __forceinline__ double load(const TensorView& t, int64_t index) {
  const uint16_t x = static_cast<const uint16_t*>(t.data)[index];
  return t.dtype == DType::kFloat16 ? static_cast<double>(__half2float(__ushort_as_half(x)))
                                    : static_cast<double>(__bfloat162float(__ushort_as_bfloat16(x)));
}

// Address arithmetic of a (b, h, s, d) element.
__device__ __forceinline__ int64_t element(const TensorView& t, TensorLayout layout, int64_t b, int64_t h, int64_t s,
                                           int64_t d) {
  const bool hnd = layout == TensorLayout::kHND;
  return b * t.stride[0] + h * t.stride[hnd ? 1 : 2] + s * t.stride[hnd ? 2 : 1] + d * t.stride[3];
}

// x = spread * N(0, 1) + bias * (a fixed N(0, 1) value per channel).
struct Distribution {
  float spread = 1.f, bias = 0.f;
};

static __global__ void fill_kernel(TensorView t, TensorLayout layout, Distribution dist, uint64_t seed) {
  const bool hnd = layout == TensorLayout::kHND;
  const int64_t heads = t.size[hnd ? 1 : 2], rows = t.size[hnd ? 2 : 1], d = t.size[3];
  const int64_t total = t.size[0] * heads * rows * d;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < total; i += int64_t{gridDim.x} * blockDim.x) {
    const int64_t c = i % d, s = i / d % rows, h = i / d / rows % heads, b = i / d / rows / heads;
    const float x = dist.spread * normal(seed, i) + dist.bias * normal(seed + 77, c);
    uint16_t* p = static_cast<uint16_t*>(t.data) + element(t, layout, b, h, s, c);
    *p = t.dtype == DType::kFloat16 ? __half_as_ushort(__float2half_rn(x))
                                    : __bfloat16_as_ushort(__float2bfloat16_rn(x));
  }
}

struct Accuracy {
  double dot, out2, ref2, error2, error1, ref1, max_error, max_lse_error;
  unsigned long long count, bad;  // bad: NaN or infinite where the reference is finite
};

__device__ __forceinline__ void atomic_max(double* p, double x) {
  unsigned long long* bits = reinterpret_cast<unsigned long long*>(p);
  atomicMax(bits, __double_as_longlong(x));  // non-negative doubles order as their bits do
}

// Which blocks count, as SpargeAttn reports them; without a map all do.
struct BlockMap {
  const uint8_t* map = nullptr;  // [b][hq][query blocks][key blocks]
  int64_t query_block = 1, key_block = 1;
};

// One block of 128 threads per compared row; `stride_rows` > 1 compares a sample. Scores live in shared memory.
static __global__ void __launch_bounds__(128)
    compare_kernel(AttentionParams p, int64_t stride_rows, Accuracy* result, BlockMap blocks = {}) {
  ATTN4J_DYNAMIC_SHARED(8, float, score);
  __shared__ double reduced[128];
  const bool hnd = p.tensor_layout == TensorLayout::kHND;
  const int64_t hq = p.q.size[hnd ? 1 : 2], lq = p.q.size[hnd ? 2 : 1], d = p.q.size[3];
  const int64_t hkv = p.k.size[hnd ? 1 : 2], lk_all = p.k.size[hnd ? 2 : 1];
  const int64_t index = blockIdx.x * stride_rows + (stride_rows > 1 ? mix(blockIdx.x) % stride_rows : 0);
  const int64_t row = index % lq, h = index / lq % hq, b = index / lq / hq, g = h / (hq / hkv);
  if (b >= p.q.size[0]) return;
  int64_t lk = p.kv_lengths != nullptr ? static_cast<const int32_t*>(p.kv_lengths)[b] : lk_all;
  if (p.is_causal) {
    const int64_t offset = p.causal_alignment == attn4j::CausalAlignment::kTopLeft ? 0 : lk_all - lq;
    lk = max(int64_t{0}, min(lk, row + offset + 1));
  }
  const double scale = p.has_sm_scale ? p.sm_scale : 1. / sqrt(static_cast<double>(d));
  const auto reduce = [&](double x, bool is_max) {
    reduced[threadIdx.x] = x;
    __syncthreads();
    for (int n = 64; n > 0; n /= 2) {
      if (threadIdx.x < n) {
        const double y = reduced[threadIdx.x + n];
        reduced[threadIdx.x] = is_max ? fmax(reduced[threadIdx.x], y) : reduced[threadIdx.x] + y;
      }
      __syncthreads();
    }
    const double all = reduced[0];
    __syncthreads();
    return all;
  };
  const int64_t query_blocks = (lq + blocks.query_block - 1) / blocks.query_block;
  const int64_t key_blocks = (lk_all + blocks.key_block - 1) / blocks.key_block;
  const uint8_t* counts = blocks.map + ((b * hq + h) * query_blocks + row / blocks.query_block) * key_blocks;
  double top = -INFINITY;
  for (int64_t j = threadIdx.x; j < lk; j += 128) {
    double s = 0;
    for (int64_t c = 0; c < d; c++) {
      s +=
          load(p.q, element(p.q, p.tensor_layout, b, h, row, c)) * load(p.k, element(p.k, p.tensor_layout, b, g, j, c));
    }
    score[j] = static_cast<float>(s * scale);
    if (blocks.map != nullptr && counts[j / blocks.key_block] == 0) score[j] = -INFINITY;
    top = fmax(top, static_cast<double>(score[j]));
  }
  top = reduce(top, true);
  const bool sees_any = top > -INFINITY;
  double sum = 0;
  for (int64_t j = threadIdx.x; j < lk; j += 128) {
    const double e = sees_any ? exp(score[j] - top) : 0;
    score[j] = static_cast<float>(e);
    sum += e;
  }
  sum = reduce(sum, false);
  double dot = 0, out2 = 0, ref2 = 0, error2 = 0, error1 = 0, ref1 = 0, worst = 0;
  for (int64_t c = threadIdx.x; c < d; c += 128) {
    double ref = 0;
    for (int64_t j = 0; j < lk; j++) ref += score[j] * load(p.v, element(p.v, p.tensor_layout, b, g, j, c));
    ref = sees_any ? ref / sum : 0;
    const double out = load(p.o, element(p.o, p.tensor_layout, b, h, row, c)), e = fabs(out - ref);
    if (!isfinite(out) && isfinite(ref)) {
      atomicAdd(&result->bad, 1ull);
      continue;
    }
    dot += out * ref, out2 += out * out, ref2 += ref * ref, error2 += e * e, error1 += e, ref1 += fabs(ref);
    worst = fmax(worst, e);
  }
  dot = reduce(dot, false), out2 = reduce(out2, false), ref2 = reduce(ref2, false), error2 = reduce(error2, false);
  error1 = reduce(error1, false), ref1 = reduce(ref1, false), worst = reduce(worst, true);
  if (threadIdx.x != 0) return;
  atomicAdd(&result->dot, dot), atomicAdd(&result->out2, out2), atomicAdd(&result->ref2, ref2);
  atomicAdd(&result->error2, error2), atomicAdd(&result->error1, error1), atomicAdd(&result->ref1, ref1);
  atomicAdd(&result->count, static_cast<unsigned long long>(d));
  atomic_max(&result->max_error, worst);
  if (p.lse == nullptr) return;
  const float lse = static_cast<const float*>(p.lse)[(b * hq + h) * lq + row];
  const double expected = sees_any ? log(sum) + top : -INFINITY;
  const double lse_error = lse == expected ? 0 : isfinite(lse) && isfinite(expected) ? fabs(lse - expected) : INFINITY;
  atomic_max(&result->max_lse_error, lse_error);
}

}  // namespace attn4j_bench
