// The images of the Hopper path, a block of rows at a time.
#pragma once

#include <cstdint>

#include "device/ptx/fp8.cuh"
#include "device/ptx/ordering.cuh"
#include "quant/fp8_image.cuh"
#include "quant/fp8_pool.cuh"
#include "quant/fp8_rows.cuh"
#include "quant/fp8_statistics.cuh"
#include "quant/fp8_team.cuh"

namespace attn4j {

constexpr int kPooledKeys = 64, kPooledQueries = 128;  // rows of the blocks that are pooled
constexpr float kMinAbsmax = 1e-12f;

template <int D>
using Pool = PoolScratch<D, PrepassShape<D>::kRowsAtOnce>;

__device__ __forceinline__ int round_up(int x, int multiple) { return (x + multiple - 1) / multiple * multiple; }

// Rounds x * factor, at most 127 in size, to the nearest even: added to 1.5 * 2^23, a float's low byte is the integer.
__device__ __forceinline__ uint32_t round_int8x4(float a, float b, float c, float d, float factor) {
  constexpr float kMagic = 12582912.f;
  const uint32_t x = __float_as_uint(fmaf(a, factor, kMagic)), y = __float_as_uint(fmaf(b, factor, kMagic));
  const uint32_t z = __float_as_uint(fmaf(c, factor, kMagic)), w = __float_as_uint(fmaf(d, factor, kMagic));
  return __byte_perm(__byte_perm(x, y, 0x0040), __byte_perm(z, w, 0x0040), 0x5410);
}

template <int kLanes>
__device__ __forceinline__ float lanes_max(float x) {
#pragma unroll
  for (int o = kLanes / 2; o > 0; o >>= 1) x = ptx::max_nan(x, __shfl_xor_sync(kFullWarp, x, o));
  return x;
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

// One lane's part of an 8-key scale group of K: 8 channels of the keys {32g + 8i + 2t + e}.
template <int D, DType T, bool kPool>
__device__ __forceinline__ void quantise_k(const Fp8Team& team, const PrepassParams& p, const Fp8Step& step,
                                           const RowsBuffer<D>& rows, Pool<D>& pool) {
  using Shape = PrepassShape<D>;
  using E = Element<T>;
  const AttentionArgs& a = p.a;
  const int piece = team.thread() % Shape::kLanes, group = team.thread() / Shape::kLanes;
  const int first_key = step.first, t = group & 3, base = first_key + 32 * (group >> 2) + 2 * t;
  const int keys = step.end, key_end = round_up(keys, p.key_tile);
  const int64_t kv_head = step.kv_head;
  uint4 raw[8];
#pragma unroll
  for (int i = 0; i < 8; i++) {
    raw[i] = make_uint4(0u, 0u, 0u, 0u);
    if (8 * piece < D) raw[i] = rows.load8(base - first_key + 8 * (i >> 1) + (i & 1), 8 * piece);
  }
  float shift[8] = {};
  if (a.k_mean != nullptr) {
    if (step.block == 0) await_statistics(p, step.kv_head);
    load_statistics<D, 0>(p, kv_head, 8 * piece, shift);
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
    pool.template finish<Shape::kBlock / kPooledKeys>(team, out, kv_head * out.blocks + first_key / kPooledKeys,
                                                      keys - first_key);
#pragma unroll
    for (uint4& x : raw) ptx::forget(x);
  }
  // 32 keys are whole warps, and key_end is a multiple of 32: warps leave together.
  if (first_key + 32 * (group >> 2) >= key_end) return;
  // The largest |key - shift| of a channel belongs to its largest or its smallest key.
  uint4 low = raw[0], high = raw[0];
#pragma unroll
  for (int i = 1; i < 8; i++) {
    low.x = E::min2(low.x, raw[i].x), low.y = E::min2(low.y, raw[i].y);
    low.z = E::min2(low.z, raw[i].z), low.w = E::min2(low.w, raw[i].w);
    high.x = E::max2(high.x, raw[i].x), high.y = E::max2(high.y, raw[i].y);
    high.z = E::max2(high.z, raw[i].z), high.w = E::max2(high.w, raw[i].w);
  }
  float least[8], most[8], absmax = kMinAbsmax;
  unpack8<T>(least, low);
  unpack8<T>(most, high);
#pragma unroll
  for (int e = 0; e < 8; e++) {
    absmax = ptx::max_nan(ptx::max_nan(absmax, fabsf(least[e] - shift[e])), fabsf(most[e] - shift[e]));
  }
  absmax = lanes_max<Shape::kLanes>(absmax);
#pragma unroll
  for (uint4& x : raw) ptx::forget(x);
  const float inverse = 127.f * ptx::rcp_approx(absmax);
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
      for (int c = 0; c < 8; c++) x[c] -= shift[c];
      u[e][0] = round_int8x4(x[0], x[1], x[2], x[3], inverse);
      u[e][1] = round_int8x4(x[4], x[5], x[6], x[7], inverse);
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
__device__ __forceinline__ void quantise_v(const Fp8Team& team, const PrepassParams& p, const Fp8Step& step,
                                           const RowsBuffer<D>& rows) {
  using E = Element<T>;
  const AttentionArgs& a = p.a;
  constexpr int kBlock = PrepassShape<D>::kBlock, kQuads = D / 4;
  static_assert(kBlock / 16 * kQuads <= kTeamThreads);
  const int first_key = step.first;
  const int channel = 4 * (team.thread() % kQuads), first = first_key + 16 * (team.thread() / kQuads);
  const int keys = step.end, key_end = min(round_up(keys, p.key_tile), first_key + kBlock);
  const int64_t kv_head = step.kv_head;
  float maximum[4];
  if (step.block == 0) await_statistics(p, step.kv_head);
  load_statistics<D, 1>(p, kv_head, channel, maximum);
  uint8_t* image = const_cast<uint8_t*>(a.v_image) + kv_head * a.lk_padded * (D + 8);
  if (first < key_end) {
    uint2 raw[16];
#pragma unroll
    for (int i = 0; i < 16; i++) raw[i] = rows.load4(first - first_key + i, channel);
    uint4* target = reinterpret_cast<uint4*>(image + v_unit_offset<D>(first, channel));
#pragma unroll
    for (int c = 0; c < 4; c++) {
      const float m = maximum[c], inverse = m > 0.f ? 448.f * ptx::rcp_approx(m) : 0.f;
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
  const int t = first_key + 16 * (team.thread() >> 3), row = team.thread() & 7;
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
__device__ __forceinline__ void quantise_q(const Fp8Team& team, const PrepassParams& p, const Fp8Step& step,
                                           const RowsBuffer<D>& rows, Pool<D>& pool) {
  using Shape = PrepassShape<D>;
  const AttentionArgs& a = p.a;
  constexpr int kPasses = Shape::kBlock / Shape::kRowsAtOnce;
  const int first_row = step.first, piece = team.thread() % Shape::kLanes;
  const int first = first_row + team.thread() / Shape::kLanes;
  const int64_t padded = (static_cast<int64_t>(step.batch(p)) * a.heads_q + step.head) * a.lq_padded;
  const auto load = [&](int i) {
    const int row = first - first_row + i * Shape::kRowsAtOnce;
    return 8 * piece < D ? rows.load8(row, 8 * piece) : make_uint4(0u, 0u, 0u, 0u);
  };
  const bool with_shift = a.lse != nullptr && a.k_mean != nullptr;
  if constexpr (kPool) {
    constexpr int kPassesPerBlock = kPooledQueries / Shape::kRowsAtOnce;
    const PooledBlocks& out = p.extras.q;
    const int64_t first_block =
        (static_cast<int64_t>(step.batch(p)) * a.heads_q + step.head) * out.blocks + first_row / out.block;
#pragma unroll
    for (int block = 0; block < Shape::kBlock / kPooledQueries; block++) {
      PoolSums sums;
#pragma unroll
      for (int i = block * kPassesPerBlock; i < (block + 1) * kPassesPerBlock; i++) {
        float x[8];
        unpack8<T>(x, load(i));
        sums.add<Shape::kLanes>(x, first + i * Shape::kRowsAtOnce < a.lq);
      }
      pool.store(team.thread() / Shape::kLanes, piece, sums);
      pool.template finish<1>(team, out, first_block + block, a.lq - first_row - block * kPooledQueries);
    }
  }
  if (with_shift && step.block == 0) await_statistics(p, step.kv_head);
  static_assert(Shape::kRowsAtOnce % 8 == 0, "then a pass is the same distance in the image for all rows");
  int8_t* image = const_cast<int8_t*>(a.q_image) + padded * D + image_offset<D>(first, piece);
  float* scale = const_cast<float*>(a.q_scale) + padded + first;
#pragma unroll
  for (int i = 0; i < kPasses; i++) {
    const int row = first + i * Shape::kRowsAtOnce;
    if (row >= a.lq_padded) break;  // whole warps: kRowsAtOnce rows are a team, and lq_padded is a multiple of 128
    float x[8], absmax = kMinAbsmax;
    unpack8<T>(x, load(i));
#pragma unroll
    for (int e = 0; e < 8; e++) absmax = ptx::max_nan(absmax, fabsf(x[e]));
    absmax = lanes_max<Shape::kLanes>(absmax);
    const float inverse = a.q_sign * 127.f * ptx::rcp_approx(absmax);
    if (8 * piece < D) {
      *reinterpret_cast<uint2*>(image + i * Shape::kRowsAtOnce * D) =
          make_uint2(round_int8x4(x[0], x[1], x[2], x[3], inverse), round_int8x4(x[4], x[5], x[6], x[7], inverse));
    }
    if (piece == 0) scale[i * Shape::kRowsAtOnce] = absmax * (1.f / 127.f) * a.scale_log2;
    if (with_shift) {
      float mean[8], dot = 0.f;
      load_statistics<D, 0>(p, step.kv_head, 8 * piece, mean);
#pragma unroll
      for (int e = 0; e < 8; e++) dot += x[e] * mean[e];
#pragma unroll
      for (int o = Shape::kLanes / 2; o > 0; o >>= 1) dot += __shfl_xor_sync(kFullWarp, dot, o);
      if (piece == 0) {
        scale[i * Shape::kRowsAtOnce + static_cast<int64_t>(a.batch) * a.heads_q * a.lq_padded] =
            dot * a.q_sign * a.scale_log2;
      }
    }
  }
}

}  // namespace attn4j
