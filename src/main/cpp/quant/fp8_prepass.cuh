// Device side of the Hopper path's quantisation.
#pragma once

#include <cstdint>

#include "device/numeric.cuh"
#include "device/ptx/bulk_copy.cuh"
#include "device/ptx/fp8.cuh"
#include "device/ptx/ordering.cuh"
#include "host/kernels.h"
#include "quant/fp8_image.cuh"
#include "quant/fp8_pool.cuh"
#include "quant/fp8_prepass.h"

namespace attn4j {

constexpr int kPrepassThreads = 256;
constexpr int kMaxChunks = 8;      // partial statistics per head: every quantising CTA reads them all
constexpr int kMeanSamples = 512;  // keys that the K mean is taken over; any shift leaves the softmax unchanged
constexpr float kMinAbsmax = 1e-12f;

struct PrepassParams {
  AttentionArgs a;
  float* statistics;  // [b, hkv][chunks][2][D]: sums of sampled keys, then absolute maxima of V
  int32_t key_tile;
  int32_t chunks, chunk_keys;
  int32_t kv_blocks;  // per (batch, kv head)
  int32_t q_blocks;   // per (batch, query head)
  Fp8Extras extras;
};

constexpr int kPooledKeys = 64, kPooledQueries = 128;  // rows of the blocks that are pooled

// Lanes that share a row of 16-byte pieces: a power of two, so that shuffles reduce over it. D = 96 leaves 4 of 16
// idle.
template <int D>
struct PrepassShape {
  static constexpr int kLanes = D == 64 ? 8 : 16;
  static constexpr int kRowsAtOnce = kPrepassThreads / kLanes;
  static constexpr int kBlock = kRowsAtOnce * 8;  // keys or queries per quantising CTA
};

template <int D>
using Pool = PoolScratch<D, PrepassShape<D>::kRowsAtOnce>;

__device__ __forceinline__ int valid_keys(const AttentionArgs& a, int batch) {
  return a.kv_lengths ? max(0, min(a.kv_lengths[batch], a.lk)) : a.lk;
}

// Key of sample i of K: one of each `step` keys, at places that no period of the data follows.
// bench/cpp/sparse_problem.cuh has the same formula.
__device__ __forceinline__ int sampled_key(int i, int step, int keys) {
  const uint32_t place = (i * 40503u & 0xffffu) * static_cast<uint32_t>(step) >> 16;
  return min(i * step + static_cast<int>(place), keys - 1);
}

__device__ __forceinline__ int round_up(int x, int multiple) { return (x + multiple - 1) / multiple * multiple; }

__device__ __forceinline__ uint32_t round_int8x4(float a, float b, float c, float d) {
  return __byte_perm(__byte_perm(__float2int_rn(a), __float2int_rn(b), 0x0040),
                     __byte_perm(__float2int_rn(c), __float2int_rn(d), 0x0040), 0x5410);
}

template <int kLanes>
__device__ __forceinline__ float lanes_max(float x) {
#pragma unroll
  for (int o = kLanes / 2; o > 0; o >>= 1) x = ptx::max_nan(x, __shfl_xor_sync(kFullWarp, x, o));
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
  for (int i = (blockIdx.y * gridDim.x + blockIdx.x) * kPrepassThreads + threadIdx.x; i < p.extras.cleared_count;
       i += gridDim.x * gridDim.y * kPrepassThreads) {
    p.extras.cleared[i] = 0;
  }
  const int batch = blockIdx.y / a.heads_kv, head = blockIdx.y % a.heads_kv;
  const int keys = valid_keys(a, batch), step = (keys + kMeanSamples - 1) / kMeanSamples;
  const int first = blockIdx.x * p.chunk_keys, end = min(keys, first + p.chunk_keys);
  const int piece = threadIdx.x % Shape::kLanes, row = threadIdx.x / Shape::kLanes;
  const int valid = 8 * piece < a.head_dim ? 8 : 0;
  const auto* k = static_cast<const typename E::type*>(a.k) + batch * a.k_stride.batch + head * a.k_stride.head;
  const auto* v = static_cast<const typename E::type*>(a.v) + batch * a.v_stride.batch + head * a.v_stride.head;

  float maximum[8] = {}, sum[8] = {};
  if (a.k_mean != nullptr && step > 0) {
#pragma unroll 4
    for (int i = (first + step - 1) / step + row; i * step < end; i += Shape::kRowsAtOnce) {
      float x[8];
      load8<T>(x, k + sampled_key(i, step, keys) * a.k_stride.row + 8 * piece, valid, true);
#pragma unroll
      for (int e = 0; e < 8; e++) sum[e] += x[e];
    }
  }
#pragma unroll 4
  for (int t = first + row; t < end; t += Shape::kRowsAtOnce) {
    float x[8];
    load8<T>(x, v + t * a.v_stride.row + 8 * piece, valid, true);
#pragma unroll
    for (int e = 0; e < 8; e++) maximum[e] = fmaxf(maximum[e], fabsf(x[e]));
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

// One row of statistics of a head (0: K mean, 1: V maximum), from the chunks' partial results in a fixed order.
template <int D, int kRow>
__device__ __forceinline__ void reduce_statistics(const PrepassParams& p, int64_t kv_head, int keys, float* out) {
  if (threadIdx.x < D) {
    const float* in = p.statistics + kv_head * p.chunks * (2 * D) + kRow * D + threadIdx.x;
    float x = 0.f;
#pragma unroll
    for (int c = 0; c < kMaxChunks; c++) {
      const float y = c < p.chunks ? in[c * (2 * D)] : 0.f;
      x = kRow == 0 ? x + y : fmaxf(x, y);
    }
    const int step = (keys + kMeanSamples - 1) / kMeanSamples;
    if (kRow == 0) x = keys > 0 ? x / static_cast<float>((keys + step - 1) / step) : 0.f;
    out[threadIdx.x] = x;
  }
  __syncthreads();
}

template <DType T>
__device__ __forceinline__ void unpack8(float (&x)[8], const uint4& v) {
  const uint32_t w[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const float2 f = Element<T>::unpack(w[i]);
    x[2 * i] = f.x;
    x[2 * i + 1] = f.y;
  }
}

// The loads of every CTA come first, all in flight at once; the statistics of the kernel before are awaited under them.
// One lane's part of an 8-key scale group of K: 8 channels of the keys {32g + 8i + 2t + e}.
template <int D, DType T, bool kPool>
__device__ __forceinline__ void quantise_k(const PrepassParams& p, int batch, int head, int first_key, float* mean,
                                           Pool<D>& pool) {
  using Shape = PrepassShape<D>;
  using E = Element<T>;
  const AttentionArgs& a = p.a;
  const int piece = threadIdx.x % Shape::kLanes, group = threadIdx.x / Shape::kLanes;
  const int t = group & 3, base = first_key + 32 * (group >> 2) + 2 * t;
  const int keys = valid_keys(a, batch), key_end = round_up(keys, p.key_tile);
  const int64_t kv_head = static_cast<int64_t>(batch) * a.heads_kv + head;
  const auto* k = static_cast<const typename E::type*>(a.k) + batch * a.k_stride.batch + head * a.k_stride.head;
  uint4 raw[8];
#pragma unroll
  for (int i = 0; i < 8; i++) {
    // Keys beyond the end are copies of the last one: they never raise a row maximum.
    const int key = min(base + 8 * (i >> 1) + (i & 1), keys - 1);
    raw[i] = make_uint4(0u, 0u, 0u, 0u);
    if (keys > 0 && 8 * piece < a.head_dim) {
      raw[i] = __ldg(reinterpret_cast<const uint4*>(k + key * a.k_stride.row + 8 * piece));
    }
  }
  float shift[8] = {};
  ptx::griddepcontrol_wait();
  if (a.k_mean != nullptr) {
    reduce_statistics<D, 0>(p, kv_head, keys, mean);
    if (first_key == 0 && static_cast<int>(threadIdx.x) < a.head_dim) {
      const_cast<float*>(a.k_mean)[kv_head * a.head_dim + threadIdx.x] = mean[threadIdx.x];
    }
#pragma unroll
    for (int e = 0; e < 8; e++) shift[e] = 8 * piece < D ? mean[8 * piece + e] : 0.f;
  }
  if constexpr (kPool) {
    PoolSums sums;
#pragma unroll
    for (int i = 0; i < 8; i++) {
      float x[8];
      unpack8<T>(x, raw[i]);
#pragma unroll
      for (int e = 0; e < 8; e++) x[e] -= shift[e];
      sums.add<Shape::kLanes>(x, base + 8 * (i >> 1) + (i & 1) < keys);
    }
    pool.store(group, piece, sums);
    const PooledBlocks& out = p.extras.k;
    pool.template finish<Shape::kBlock / kPooledKeys>(out, kv_head * out.blocks + first_key / kPooledKeys,
                                                      keys - first_key);
#pragma unroll
    for (uint4& x : raw) ptx::forget(x);
  }
  // 32 keys are whole warps, and key_end is a multiple of 32: warps leave together.
  if (first_key + 32 * (group >> 2) >= key_end) return;
  float absmax = kMinAbsmax;
#pragma unroll
  for (int i = 0; i < 8; i++) {
    float x[8];
    unpack8<T>(x, raw[i]);
#pragma unroll
    for (int e = 0; e < 8; e++) absmax = ptx::max_nan(absmax, fabsf(x[e] - shift[e]));
  }
  absmax = lanes_max<Shape::kLanes>(absmax);
  const float inverse = 127.f / absmax;
  int8_t* image = const_cast<int8_t*>(a.k_image) + kv_head * a.lk_padded * D;
  const bool odd = piece & 1;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    uint32_t u[2][2];
#pragma unroll
    for (int e = 0; e < 2; e++) {
      float x[8];
      unpack8<T>(x, raw[2 * i + e]);
#pragma unroll
      for (int c = 0; c < 8; c++) x[c] = (x[c] - shift[c]) * inverse;
      u[e][0] = round_int8x4(x[0], x[1], x[2], x[3]);
      u[e][1] = round_int8x4(x[4], x[5], x[6], x[7]);
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
    const_cast<float*>(a.k_scale)[kv_head * (a.lk_padded / 8) + base / 32 * 4 + t] = absmax * (1.f / 127.f);
  }
}

// A thread takes 4 channels of 16 keys: the transpose happens in its registers.
template <int D, DType T>
__device__ __forceinline__ void quantise_v(const PrepassParams& p, int batch, int head, int first_key, float* maximum) {
  using E = Element<T>;
  const AttentionArgs& a = p.a;
  constexpr int kBlock = PrepassShape<D>::kBlock, kQuads = D / 4;
  static_assert(kBlock / 16 * kQuads <= kPrepassThreads);
  const int channel = 4 * (threadIdx.x % kQuads), first = first_key + 16 * (threadIdx.x / kQuads);
  const int keys = valid_keys(a, batch), key_end = min(round_up(keys, p.key_tile), first_key + kBlock);
  const int64_t kv_head = static_cast<int64_t>(batch) * a.heads_kv + head;
  const auto* v = static_cast<const typename E::type*>(a.v) + batch * a.v_stride.batch + head * a.v_stride.head;
  uint2 raw[16];
#pragma unroll
  for (int i = 0; i < 16; i++) {
    raw[i] = make_uint2(0u, 0u);
    if (first + i < min(keys, first_key + kBlock) && channel < a.head_dim) {
      raw[i] = __ldg(reinterpret_cast<const uint2*>(v + (first + i) * a.v_stride.row + channel));
    }
  }
  ptx::griddepcontrol_wait();
  reduce_statistics<D, 1>(p, kv_head, keys, maximum);
  if (first_key == 0 && threadIdx.x < D) {
    const_cast<float*>(a.v_scale)[kv_head * D + threadIdx.x] = maximum[threadIdx.x] / 448.f;
  }
  uint8_t* image = const_cast<uint8_t*>(a.v_image) + kv_head * a.lk_padded * (D + 8);
  if (first < key_end) {
    uint4* target = reinterpret_cast<uint4*>(image + v_unit_offset<D>(first, channel));
#pragma unroll
    for (int c = 0; c < 4; c++) {
      const float m = maximum[channel + c], inverse = m > 0.f ? 448.f / m : 0.f;
      uint32_t w[4];
#pragma unroll
      for (int q = 0; q < 4; q++) {
        float f[4];
#pragma unroll
        for (int j = 0; j < 4; j++) {
          const uint2 pair = raw[8 * (j >> 1) + 2 * q + (j & 1)];
          const float2 two = E::unpack(c < 2 ? pair.x : pair.y);
          f[j] = (c & 1 ? two.y : two.x) * inverse;
        }
        w[q] = ptx::pack_e4m3x4(f[0], f[1], f[2], f[3]);
      }
      target[c] = make_uint4(w[0], w[1], w[2], w[3]);
    }
  }
  // The last channel group: ones for valid keys in channel D, zeros below it.
  const int t = first_key + 16 * (threadIdx.x >> 3), row = threadIdx.x & 7;
  if (t >= key_end) return;
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

// One scale per query, with the softmax scale in it, and q . mean(k) where an LSE needs it.
template <int D, DType T, bool kPool>
__device__ __forceinline__ void quantise_q(const PrepassParams& p, int batch, int head, int first_row, float* mean,
                                           Pool<D>& pool) {
  using Shape = PrepassShape<D>;
  using E = Element<T>;
  const AttentionArgs& a = p.a;
  constexpr int kPasses = Shape::kBlock / Shape::kRowsAtOnce;
  const int piece = threadIdx.x % Shape::kLanes, first = first_row + threadIdx.x / Shape::kLanes;
  const auto* q = static_cast<const typename E::type*>(a.q) + batch * a.q_stride.batch + head * a.q_stride.head;
  const int64_t padded = (static_cast<int64_t>(batch) * a.heads_q + head) * a.lq_padded;
  uint4 raw[kPasses];
#pragma unroll
  for (int i = 0; i < kPasses; i++) {
    const int row = first + i * Shape::kRowsAtOnce;
    raw[i] = make_uint4(0u, 0u, 0u, 0u);
    if (row < a.lq && 8 * piece < a.head_dim) {
      raw[i] = __ldg(reinterpret_cast<const uint4*>(q + row * a.q_stride.row + 8 * piece));
    }
  }
  const bool with_shift = a.lse != nullptr && a.k_mean != nullptr;
  if constexpr (kPool) {
    constexpr int kPassesPerBlock = kPooledQueries / Shape::kRowsAtOnce;
    const PooledBlocks& out = p.extras.q;
    const int64_t first_block = (static_cast<int64_t>(batch) * a.heads_q + head) * out.blocks + first_row / out.block;
#pragma unroll
    for (int block = 0; block < Shape::kBlock / kPooledQueries; block++) {
      PoolSums sums;
#pragma unroll
      for (int i = block * kPassesPerBlock; i < (block + 1) * kPassesPerBlock; i++) {
        float x[8];
        unpack8<T>(x, raw[i]);
        sums.add<Shape::kLanes>(x, first + i * Shape::kRowsAtOnce < a.lq);
      }
      pool.store(threadIdx.x / Shape::kLanes, piece, sums);
      pool.template finish<1>(out, first_block + block, a.lq - first_row - block * kPooledQueries);
    }
#pragma unroll
    for (uint4& x : raw) ptx::forget(x);
  }
  ptx::griddepcontrol_wait();
  if (with_shift) {
    reduce_statistics<D, 0>(p, static_cast<int64_t>(batch) * a.heads_kv + head / a.group, valid_keys(a, batch), mean);
  }
  int8_t* image = const_cast<int8_t*>(a.q_image) + padded * D;
  float* scale = const_cast<float*>(a.q_scale) + padded;
#pragma unroll
  for (int i = 0; i < kPasses; i++) {
    const int row = first + i * Shape::kRowsAtOnce;
    if (row >= a.lq_padded) break;  // whole warps: kRowsAtOnce rows are a CTA, and lq_padded is a multiple of 128
    float x[8], absmax = kMinAbsmax;
    unpack8<T>(x, raw[i]);
#pragma unroll
    for (int e = 0; e < 8; e++) absmax = ptx::max_nan(absmax, fabsf(x[e]));
    absmax = lanes_max<Shape::kLanes>(absmax);
    const float inverse = a.q_sign * 127.f / absmax;
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
      if (piece == 0) {
        scale[row + static_cast<int64_t>(a.batch) * a.heads_q * a.lq_padded] = dot * a.q_sign * a.scale_log2;
      }
    }
  }
}

// CTAs of K, then of V, then of Q.
template <int D, DType T, bool kPool>
__global__ void __launch_bounds__(kPrepassThreads, kPool ? 2 : 3)
    fp8_quantise(const __grid_constant__ PrepassParams p) {
  __shared__ float statistics[D];
  extern __shared__ __align__(16) unsigned char scratch[];
  Pool<D>& pool = *reinterpret_cast<Pool<D>*>(scratch);  // with kPool
  const AttentionArgs& a = p.a;
  ptx::griddepcontrol_launch_dependents();
  const int kv_total = p.kv_blocks * a.batch * a.heads_kv;
  int index = blockIdx.x;
  if (index < 2 * kv_total) {
    const bool is_v = index >= kv_total;
    if (is_v) index -= kv_total;
    const int kv_head = index / p.kv_blocks, first_key = (index - kv_head * p.kv_blocks) * PrepassShape<D>::kBlock;
    const int batch = kv_head / a.heads_kv, head = kv_head - batch * a.heads_kv;
    if (is_v) {
      quantise_v<D, T>(p, batch, head, first_key, statistics);
    } else {
      quantise_k<D, T, kPool>(p, batch, head, first_key, statistics, pool);
    }
  } else {
    index -= 2 * kv_total;
    const int q_head = index / p.q_blocks, first_row = (index - q_head * p.q_blocks) * PrepassShape<D>::kBlock;
    const int batch = q_head / a.heads_q;
    quantise_q<D, T, kPool>(p, batch, q_head - batch * a.heads_q, first_row, statistics, pool);
  }
}

}  // namespace attn4j
