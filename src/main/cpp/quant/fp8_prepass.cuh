// Device side of the Hopper path's quantisation.
#pragma once

#include <cstdint>

#include "device/numeric.cuh"
#include "device/ptx/bulk_copy.cuh"
#include "device/ptx/fp8.cuh"
#include "host/kernels.h"
#include "quant/fp8_image.cuh"

namespace attn4j {

constexpr int kPrepassThreads = 256;
constexpr int kMaxChunks = 8;        // partial statistics per head: every quantising CTA reads them all
constexpr int kMeanSamples = 512;    // keys that the K mean is taken over; any shift leaves the softmax unchanged
constexpr float kMinAbsmax = 1e-12f;
constexpr int kQueryBlock = 64;      // queries per quantising CTA

struct PrepassParams {
  AttentionArgs a;
  float* statistics;  // [b, hkv][chunks][2][D]: sums of sampled keys, then absolute maxima of V
  int32_t key_tile;
  int32_t chunks, chunk_keys;
  int32_t kv_blocks;  // per (batch, kv head)
  int32_t q_blocks;   // per (batch, query head)
};

// Lanes that share a row of 16-byte pieces: a power of two, so that shuffles reduce over it. D = 96 leaves 4 of 16 idle.
template <int D>
struct PrepassShape {
  static constexpr int kLanes = D == 64 ? 8 : 16;
  static constexpr int kRowsAtOnce = kPrepassThreads / kLanes;
  static constexpr int kKeys = kRowsAtOnce * 8;  // keys per quantising CTA
};

__device__ __forceinline__ int valid_keys(const AttentionArgs& a, int batch) {
  return a.kv_lengths ? max(0, min(a.kv_lengths[batch], a.lk)) : a.lk;
}

__device__ __forceinline__ uint32_t round_int8x4(float a, float b, float c, float d) {
  return __byte_perm(__byte_perm(__float2int_rn(a), __float2int_rn(b), 0x0040),
                     __byte_perm(__float2int_rn(c), __float2int_rn(d), 0x0040), 0x5410);
}

template <int kLanes>
__device__ __forceinline__ float lanes_max(float x) {
#pragma unroll
  for (int o = kLanes / 2; o > 0; o >>= 1) x = fmaxf(x, __shfl_xor_sync(kFullWarp, x, o));
  return x;
}

// Grid (chunks, b * hkv): partial sums of sampled keys and partial maxima of |V| of one chunk of keys.
template <int D, DType T>
__global__ void __launch_bounds__(kPrepassThreads) fp8_statistics(const __grid_constant__ PrepassParams p) {
  using Shape = PrepassShape<D>;
  using E = Element<T>;
  __shared__ float sums[Shape::kRowsAtOnce][D], maxima[Shape::kRowsAtOnce][D];
  const AttentionArgs& a = p.a;
  ptx::griddepcontrol_launch_dependents();
  if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0) *a.work_counter = 0;
  const int batch = blockIdx.y / a.heads_kv, head = blockIdx.y % a.heads_kv;
  const int keys = valid_keys(a, batch), step = (keys + kMeanSamples - 1) / kMeanSamples;
  const int first = blockIdx.x * p.chunk_keys, end = min(keys, first + p.chunk_keys);
  const int piece = threadIdx.x % Shape::kLanes, row = threadIdx.x / Shape::kLanes;
  const int valid = 8 * piece < a.head_dim ? 8 : 0;
  const auto* k = static_cast<const typename E::type*>(a.k) + batch * a.k_stride.batch + head * a.k_stride.head;
  const auto* v = static_cast<const typename E::type*>(a.v) + batch * a.v_stride.batch + head * a.v_stride.head;

  float maximum[8] = {}, sum[8] = {};
#pragma unroll 4
  for (int t = first + row; t < end; t += Shape::kRowsAtOnce) {
    float x[8];
    load8<T>(x, v + t * a.v_stride.row + 8 * piece, valid, true);
#pragma unroll
    for (int e = 0; e < 8; e++) maximum[e] = fmaxf(maximum[e], fabsf(x[e]));
  }
  if (a.k_mean != nullptr && step > 0) {
#pragma unroll 2
    for (int t = ((first + step - 1) / step + row) * step; t < end; t += Shape::kRowsAtOnce * step) {
      float x[8];
      load8<T>(x, k + t * a.k_stride.row + 8 * piece, valid, true);
#pragma unroll
      for (int e = 0; e < 8; e++) sum[e] += x[e];
    }
  }
  if (8 * piece < D) {
#pragma unroll
    for (int e = 0; e < 8; e++) {
      sums[row][8 * piece + e] = sum[e];
      maxima[row][8 * piece + e] = maximum[e];
    }
  }
  __syncthreads();
  if (threadIdx.x < D) {
    float s = 0.f, m = 0.f;
    for (int r = 0; r < Shape::kRowsAtOnce; r++) {
      s += sums[r][threadIdx.x];
      m = fmaxf(m, maxima[r][threadIdx.x]);
    }
    float* out = p.statistics + (static_cast<int64_t>(blockIdx.y) * p.chunks + blockIdx.x) * (2 * D);
    out[threadIdx.x] = s;
    out[D + threadIdx.x] = m;
  }
}

// K mean and V maximum of one head from the chunks' partial results, in a fixed order.
template <int D>
__device__ __forceinline__ void reduce_statistics(const PrepassParams& p, int64_t kv_head, int keys, float* mean,
                                                  float* v_max) {
  const int step = (keys + kMeanSamples - 1) / kMeanSamples;
  const float inverse = keys > 0 ? 1.f / static_cast<float>((keys + step - 1) / step) : 0.f;
  const float* in = p.statistics + kv_head * p.chunks * (2 * D);
  for (int i = threadIdx.x; i < 2 * D; i += kPrepassThreads) {
    float x = 0.f;
#pragma unroll
    for (int c = 0; c < kMaxChunks; c++) {
      if (c < p.chunks) {
        const float y = in[c * (2 * D) + i];
        x = i < D ? x + y : fmaxf(x, y);
      }
    }
    if (i < D) {
      mean[i] = x * inverse;
    } else if (v_max != nullptr) {
      v_max[i - D] = x;
    }
  }
  __syncthreads();
}

// One lane's part of an 8-key scale group: 8 channels of the keys {32g + 8i + 2q + e}.
template <int D, DType T>
__device__ __forceinline__ void quantise_k(const PrepassParams& p, int batch, int head, int first_key, int keys,
                                           const float* mean) {
  using Shape = PrepassShape<D>;
  using E = Element<T>;
  const AttentionArgs& a = p.a;
  const int piece = threadIdx.x % Shape::kLanes, group = threadIdx.x / Shape::kLanes;
  const int q = group & 3, base = first_key + 32 * (group >> 2) + 2 * q;
  const int valid = 8 * piece < a.head_dim ? 8 : 0;
  const auto* k = static_cast<const typename E::type*>(a.k) + batch * a.k_stride.batch + head * a.k_stride.head;
  float x[8][8], absmax = 0.f, shift[8];
#pragma unroll
  for (int i = 0; i < 8; i++) {
    // Keys beyond the end are copies of the last one: they never raise a row maximum.
    const int key = min(base + 8 * (i >> 1) + (i & 1), keys - 1);
    load8<T>(x[i], k + key * a.k_stride.row + 8 * piece, valid, true);
  }
#pragma unroll
  for (int e = 0; e < 8; e++) shift[e] = 8 * piece < D && a.k_mean != nullptr ? mean[8 * piece + e] : 0.f;
#pragma unroll
  for (int i = 0; i < 8; i++) {
#pragma unroll
    for (int e = 0; e < 8; e++) {
      x[i][e] -= shift[e];
      absmax = fmaxf(absmax, fabsf(x[i][e]));
    }
  }
  absmax = fmaxf(lanes_max<Shape::kLanes>(absmax), kMinAbsmax);
  const float inverse = 127.f / absmax;
  const int64_t kv_head = static_cast<int64_t>(batch) * a.heads_kv + head;
  int8_t* image = const_cast<int8_t*>(a.k_image) + kv_head * a.lk_padded * D;
  const bool odd = piece & 1;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    uint32_t u[2][2];
#pragma unroll
    for (int e = 0; e < 2; e++) {
      const float* y = x[2 * i + e];
      u[e][0] = round_int8x4(y[0] * inverse, y[1] * inverse, y[2] * inverse, y[3] * inverse);
      u[e][1] = round_int8x4(y[4] * inverse, y[5] * inverse, y[6] * inverse, y[7] * inverse);
    }
    // Neighbouring lanes swap, so that each stores the 16 channels of one key: whole 32-byte sectors per lane pair.
    const uint32_t s0 = __shfl_xor_sync(kFullWarp, odd ? u[0][0] : u[1][0], 1);
    const uint32_t s1 = __shfl_xor_sync(kFullWarp, odd ? u[0][1] : u[1][1], 1);
    const uint4 w = odd ? make_uint4(s0, s1, u[1][0], u[1][1]) : make_uint4(u[0][0], u[0][1], s0, s1);
    if (8 * piece < D) {
      *reinterpret_cast<uint4*>(image + image_offset<D>(base + 8 * i + odd, piece & ~1)) = w;
    }
  }
  if (piece == 0) {
    const_cast<float*>(a.k_scale)[kv_head * (a.lk_padded / 8) + base / 32 * 4 + q] = absmax * (1.f / 127.f);
  }
}

// A thread takes 2 channels of 16 keys: the transpose happens in its registers.
template <int D, DType T>
__device__ __forceinline__ void quantise_v(const PrepassParams& p, int batch, int head, int first_key, int key_end,
                                           int keys, const float* v_max) {
  using E = Element<T>;
  const AttentionArgs& a = p.a;
  constexpr int kPairs = D / 2, kSlabs = kPrepassThreads / kPairs;
  const int channel = 2 * (threadIdx.x % kPairs), slab = threadIdx.x / kPairs;
  const int64_t kv_head = static_cast<int64_t>(batch) * a.heads_kv + head;
  uint8_t* image = const_cast<uint8_t*>(a.v_image) + kv_head * a.lk_padded * (D + 8);
  const auto* v = static_cast<const typename E::type*>(a.v) + batch * a.v_stride.batch + head * a.v_stride.head;
  const float m0 = v_max[channel], m1 = v_max[channel + 1];
  const float inverse0 = m0 > 0.f ? 448.f / m0 : 0.f, inverse1 = m1 > 0.f ? 448.f / m1 : 0.f;
  const int last = min(key_end, first_key + PrepassShape<D>::kKeys);
  if (slab < kSlabs) {
#pragma unroll 1
    for (int t = first_key + 16 * slab; t < last; t += 16 * kSlabs) {
      uint32_t x[16], low[4], high[4];
#pragma unroll
      for (int i = 0; i < 16; i++) {
        const bool valid = t + i < keys && channel < a.head_dim;
        x[i] = valid ? __ldg(reinterpret_cast<const uint32_t*>(v + (t + i) * a.v_stride.row + channel)) : 0u;
      }
#pragma unroll
      for (int q = 0; q < 4; q++) {
        float2 f[4];
#pragma unroll
        for (int j = 0; j < 4; j++) f[j] = E::unpack(x[8 * (j >> 1) + 2 * q + (j & 1)]);
        low[q] = ptx::pack_e4m3x4(f[0].x * inverse0, f[1].x * inverse0, f[2].x * inverse0, f[3].x * inverse0);
        high[q] = ptx::pack_e4m3x4(f[0].y * inverse1, f[1].y * inverse1, f[2].y * inverse1, f[3].y * inverse1);
      }
      uint8_t* target = image + v_unit_offset<D>(t, channel);
      *reinterpret_cast<uint4*>(target) = make_uint4(low[0], low[1], low[2], low[3]);
      *reinterpret_cast<uint4*>(target + 16) = make_uint4(high[0], high[1], high[2], high[3]);
    }
  }
  // The last channel group: ones for valid keys in channel D, zeros below it.
  for (int i = threadIdx.x; i < PrepassShape<D>::kKeys / 2; i += kPrepassThreads) {
    const int t = first_key + 16 * (i >> 3), row = i & 7;
    if (t >= last) break;
    uint32_t w[4] = {0u, 0u, 0u, 0u};
    if (row == 0) {
#pragma unroll
      for (int n = 0; n < 16; n++) {
        const int j = n & 3, key = t + 8 * (j >> 1) + 2 * (n >> 2) + (j & 1);
        if (key < keys) w[n >> 2] |= static_cast<uint32_t>(kE4m3One) << (8 * j);
      }
    }
    *reinterpret_cast<uint4*>(image + v_unit_offset<D>(t, D + row)) = make_uint4(w[0], w[1], w[2], w[3]);
  }
}

// 64 queries: one scale per row, with the softmax scale in it, and q . mean(k) where an LSE needs it.
template <int D, DType T>
__device__ __forceinline__ void quantise_q(const PrepassParams& p, int batch, int head, int first_row,
                                           const float* mean) {
  using Shape = PrepassShape<D>;
  using E = Element<T>;
  const AttentionArgs& a = p.a;
  const int piece = threadIdx.x % Shape::kLanes, row_of_pass = threadIdx.x / Shape::kLanes;
  const auto* q = static_cast<const typename E::type*>(a.q) + batch * a.q_stride.batch + head * a.q_stride.head;
  const int64_t padded = (static_cast<int64_t>(batch) * a.heads_q + head) * a.lq_padded;
  int8_t* image = const_cast<int8_t*>(a.q_image) + padded * D;
  float* scale = const_cast<float*>(a.q_scale) + padded;
  const bool with_shift = a.lse != nullptr && a.k_mean != nullptr;
#pragma unroll
  for (int i = 0; i < kQueryBlock / Shape::kRowsAtOnce; i++) {
    const int row = first_row + i * Shape::kRowsAtOnce + row_of_pass;
    const int valid = row < a.lq && 8 * piece < a.head_dim ? 8 : 0;
    float x[8], absmax = 0.f;
    load8<T>(x, q + row * a.q_stride.row + 8 * piece, valid, true);
#pragma unroll
    for (int e = 0; e < 8; e++) {
      x[e] *= a.q_sign;
      absmax = fmaxf(absmax, fabsf(x[e]));
    }
    absmax = fmaxf(lanes_max<Shape::kLanes>(absmax), kMinAbsmax);
    const float inverse = 127.f / absmax;
    if (8 * piece < D) {
      *reinterpret_cast<uint2*>(image + image_offset<D>(row, piece)) =
          make_uint2(round_int8x4(x[0] * inverse, x[1] * inverse, x[2] * inverse, x[3] * inverse),
                     round_int8x4(x[4] * inverse, x[5] * inverse, x[6] * inverse, x[7] * inverse));
    }
    if (piece == 0) scale[row] = absmax * (1.f / 127.f) * a.scale_log2;
    if (with_shift) {
      float dot = 0.f;
#pragma unroll
      for (int e = 0; e < 8; e++) dot += 8 * piece < D ? x[e] * mean[8 * piece + e] : 0.f;
#pragma unroll
      for (int o = Shape::kLanes / 2; o > 0; o >>= 1) dot += __shfl_xor_sync(kFullWarp, dot, o);
      if (piece == 0) scale[row + static_cast<int64_t>(a.batch) * a.heads_q * a.lq_padded] = dot * a.scale_log2;
    }
  }
}

// First the CTAs of K and V, then those of Q.
template <int D, DType T>
__global__ void __launch_bounds__(kPrepassThreads) fp8_quantise(const __grid_constant__ PrepassParams p) {
  __shared__ float mean[D], v_max[D];
  const AttentionArgs& a = p.a;
  ptx::griddepcontrol_launch_dependents();
  ptx::griddepcontrol_wait();
  const int kv_total = p.kv_blocks * a.batch * a.heads_kv;
  if (static_cast<int>(blockIdx.x) < kv_total) {
    const int kv_head = blockIdx.x / p.kv_blocks, block = blockIdx.x - kv_head * p.kv_blocks;
    const int batch = kv_head / a.heads_kv, head = kv_head - batch * a.heads_kv;
    const int keys = valid_keys(a, batch), key_end = (keys + p.key_tile - 1) / p.key_tile * p.key_tile;
    const int first_key = block * PrepassShape<D>::kKeys;
    reduce_statistics<D>(p, kv_head, keys, mean, v_max);
    if (block == 0 && threadIdx.x < D) {
      const_cast<float*>(a.v_scale)[static_cast<int64_t>(kv_head) * D + threadIdx.x] = v_max[threadIdx.x] / 448.f;
      if (a.k_mean != nullptr && static_cast<int>(threadIdx.x) < a.head_dim) {
        const_cast<float*>(a.k_mean)[static_cast<int64_t>(kv_head) * a.head_dim + threadIdx.x] = mean[threadIdx.x];
      }
    }
    if (first_key >= key_end) return;
    // Whole warps leave together: 32 keys are two warps of scale groups (one at D = 64), and key_end is a multiple of 32.
    const int group = threadIdx.x / PrepassShape<D>::kLanes;
    if (first_key + 32 * (group >> 2) < key_end) quantise_k<D, T>(p, batch, head, first_key, keys, mean);
    quantise_v<D, T>(p, batch, head, first_key, key_end, keys, v_max);
  } else {
    const int index = blockIdx.x - kv_total, q_head = index / p.q_blocks, block = index - q_head * p.q_blocks;
    const int batch = q_head / a.heads_q, head = q_head - batch * a.heads_q;
    if (a.lse != nullptr && a.k_mean != nullptr) {
      reduce_statistics<D>(p, static_cast<int64_t>(batch) * a.heads_kv + head / a.group, valid_keys(a, batch), mean,
                           nullptr);
    }
    quantise_q<D, T>(p, batch, head, block * kQueryBlock, mean);
  }
}

}  // namespace attn4j
