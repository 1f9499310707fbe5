// An fp64 attention on the GPU, written as plainly as possible, and the comparison against it.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "attention/arguments.h"

namespace exact_check {

using attn4j::AttentionArgs;
using attn4j::DType;
using attn4j::Strides;

struct View {
  uint16_t* data;
  Strides stride;  // elements
  int batch, heads, rows, channels;
};

struct Report {
  long long wrong_outputs = 0, wrong_lse = 0, overwritten = 0;
  double worst = 0.;  // largest error / bound
};

struct Outputs {
  const uint16_t* memory;  // the whole buffer around the tensor
  int64_t elements;
  View view;
  const float* lse;  // one guard before and one behind
  int64_t lse_elements;
};

inline __device__ double to_double(uint16_t x, DType dtype) {
  if (dtype == DType::kFloat16) return __half2float(__ushort_as_half(x));
  return __bfloat162float(__ushort_as_bfloat16(x));
}

inline __device__ uint64_t mix(uint64_t x) {
  x = (x ^ (x >> 31)) * 0x7fb5d329728ea185ull;
  x = (x ^ (x >> 27)) * 0x81dadef4bc2dd44dull;
  return x ^ (x >> 33);
}

static __global__ void fill_normal_kernel(View t, DType dtype, const int32_t* lengths, uint64_t seed) {
  const int64_t count = int64_t{1} * t.batch * t.heads * t.rows * t.channels;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count; i += int64_t{gridDim.x} * blockDim.x) {
    const int channel = i % t.channels, row = i / t.channels % t.rows;
    const int head = i / t.channels / t.rows % t.heads, batch = i / t.channels / t.rows / t.heads;
    if (lengths != nullptr && row >= lengths[batch]) continue;
    if (t.stride.head == 0 && head > 0) continue;
    const uint64_t r = mix(mix(seed) + i);
    const float u = (static_cast<uint32_t>(r) + 0.5f) * 2.3283064e-10f,
                w = static_cast<uint32_t>(r >> 32) * 2.3283064e-10f;
    const float x = sqrtf(-2.f * logf(fmaxf(u, 1e-9f))) * cospif(2.f * w);
    t.data[batch * t.stride.batch + head * t.stride.head + row * t.stride.row + channel] =
        dtype == DType::kFloat16 ? __half_as_ushort(__float2half_rn(x)) : __bfloat16_as_ushort(__float2bfloat16_rn(x));
  }
}

inline void fill_normal(const View& t, DType dtype, const int32_t* lengths, uint64_t seed) {
  fill_normal_kernel<<<1024, 256>>>(t, dtype, lengths, seed);
}

// One block per query row.
static __global__ void compare_kernel(AttentionArgs a, DType dtype, Outputs out, Report* report) {
  extern __shared__ double scores[];
  __shared__ double reduced[256];
  const int row = blockIdx.x, head = blockIdx.y, batch = blockIdx.z;
  const auto reduce = [&](double x, bool max) {
    reduced[threadIdx.x] = x;
    __syncthreads();
    for (int n = 128; n > 0; n /= 2) {
      if (threadIdx.x < n) {
        const double y = reduced[threadIdx.x + n];
        reduced[threadIdx.x] = max ? fmax(reduced[threadIdx.x], y) : reduced[threadIdx.x] + y;
      }
      __syncthreads();
    }
    const double result = reduced[0];
    __syncthreads();
    return result;
  };
  int keys = a.kv_lengths != nullptr ? a.kv_lengths[batch] : a.lk;
  keys = max(0, min(keys, row + a.causal_offset + 1));
  const uint16_t* q =
      static_cast<const uint16_t*>(a.q) + batch * a.q_stride.batch + head * a.q_stride.head + row * a.q_stride.row;
  const uint16_t* k = static_cast<const uint16_t*>(a.k) + batch * a.k_stride.batch + head / a.group * a.k_stride.head;
  const uint16_t* v = static_cast<const uint16_t*>(a.v) + batch * a.v_stride.batch + head / a.group * a.v_stride.head;
  const double scale = static_cast<double>(a.scale_log2) * a.q_sign * 0.6931471805599453;
  double largest = -INFINITY;
  for (int j = threadIdx.x; j < keys; j += 256) {
    double s = 0.;
    for (int c = 0; c < a.head_dim; c++) s += to_double(q[c], dtype) * to_double(k[j * a.k_stride.row + c], dtype);
    scores[j] = s * scale;
    largest = fmax(largest, scores[j]);
  }
  largest = reduce(largest, true);
  double sum = 0.;
  for (int j = threadIdx.x; j < keys; j += 256) sum += scores[j] = exp(scores[j] - largest);
  sum = reduce(sum, false);
  __syncthreads();
  const double unit = dtype == DType::kFloat16 ? 1. / 2048 : 1. / 256;  // half an ulp
  const uint16_t* o = out.view.data + batch * a.o_stride.batch + head * a.o_stride.head + row * a.o_stride.row;
  for (int c = threadIdx.x; c < a.head_dim; c += 256) {
    double x = 0., magnitude = 0., plain = 0.;
    for (int j = 0; j < keys; j++) {
      const double y = to_double(v[j * a.v_stride.row + c], dtype);
      x += scores[j] * y, magnitude += scores[j] * fabs(y), plain += fabs(y);
    }
    if (keys > 0) x /= sum, magnitude /= sum, plain /= sum;
    // P and O are rounded to 16 bits (P below 2^-14 to steps of 2^-24 in fp16); the fp32 exponent of P has an absolute
    // error of about 2^-22 times the scores, which matters for extreme scales alone.
    const double exponent = 4e-7 * fabs(scale) * 40. * a.head_dim;
    const double bound = 1.05 * unit * (fabs(x) + magnitude) + 4e-8 * plain + (1e-5 + exponent) * magnitude + 1e-30;
    const double error = fabs(to_double(o[c], dtype) - x);
    // Where an infinity or a NaN that the row sees makes the result one, the same is expected.
    const double found = to_double(o[c], dtype);
    if (isfinite(x) ? !(error <= bound) : !(found == x || (isnan(x) && isnan(found)))) {
      atomicAdd(reinterpret_cast<unsigned long long*>(&report->wrong_outputs), 1ull);
    }
    if (!isfinite(x)) continue;
    atomicMax(reinterpret_cast<unsigned long long*>(&report->worst),
              static_cast<unsigned long long>(__double_as_longlong(error / bound)));
  }
  if (threadIdx.x == 0) {
    const double got = out.lse[1 + (int64_t{batch} * a.heads_q + head) * a.lq + row];
    const double expected = keys > 0 ? log(sum) + largest : -INFINITY;
    const bool close = isnan(expected) ? isnan(got) : fabs(got - expected) <= 2e-5 + 4e-6 * fabs(expected);
    const bool same = keys > 0 ? close : got == expected;
    if (!same) atomicAdd(reinterpret_cast<unsigned long long*>(&report->wrong_lse), 1ull);
  }
}

// Everything outside the tensor must still hold the poison byte.
static __global__ void canary_kernel(Outputs out, Report* report) {
  const int64_t first = out.view.data - out.memory;
  const View& t = out.view;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < out.elements;
       i += int64_t{gridDim.x} * blockDim.x) {
    if (out.memory[i] == 0x5a5a) continue;
    int64_t x = i - first;
    bool inside = x >= 0;
    // Strides descend in (batch, head, row) or (batch, row, head) order.
    const int64_t batch = t.stride.batch > 0 ? x / t.stride.batch : 0;
    x -= batch * t.stride.batch;
    const bool head_first = t.stride.head > t.stride.row || t.rows == 1;
    const int64_t outer = x / (head_first ? t.stride.head : t.stride.row);
    x -= outer * (head_first ? t.stride.head : t.stride.row);
    const int64_t inner = x / (head_first ? t.stride.row : t.stride.head);
    x -= inner * (head_first ? t.stride.row : t.stride.head);
    inside = inside && batch < t.batch && outer < (head_first ? t.heads : t.rows) &&
             inner < (head_first ? t.rows : t.heads) && x < t.channels;
    if (!inside) atomicAdd(reinterpret_cast<unsigned long long*>(&report->overwritten), 1ull);
  }
  if (blockIdx.x == 0 && threadIdx.x < 2) {
    const float guard = out.lse[threadIdx.x * (out.lse_elements - 1)];
    if (__float_as_uint(guard) != 0x5a5a5a5au) {
      atomicAdd(reinterpret_cast<unsigned long long*>(&report->overwritten), 1ull);
    }
  }
}

static __global__ void difference_kernel(const uint32_t* a, const uint32_t* b, int64_t words, int* different) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < words; i += int64_t{gridDim.x} * blockDim.x) {
    if (a[i] != b[i]) *different = 1;
  }
}

inline Report compare(const AttentionArgs& a, DType dtype, const Outputs& out) {
  Report* device = nullptr;
  Report report;
  cudaMalloc(&device, sizeof(Report));
  cudaMemset(device, 0, sizeof(Report));
  compare_kernel<<<dim3(a.lq, a.heads_q, a.batch), 256, (a.lk + 1) * sizeof(double)>>>(a, dtype, out, device);
  canary_kernel<<<256, 256>>>(out, device);
  if (cudaMemcpy(&report, device, sizeof(Report), cudaMemcpyDeviceToHost) != cudaSuccess) report.wrong_outputs = -1;
  cudaFree(device);
  return report;
}

}  // namespace exact_check
