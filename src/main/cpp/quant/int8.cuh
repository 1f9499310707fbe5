// INT8 quantisation of rows, as device code: one group of lanes holds a row, 8 channels per lane.
//
// Symmetric: scale = max|x| / 127, value = round-to-nearest-even(x * (127 / max|x|)) (SageAttention, arXiv:2410.02367,
// section 3.2). A NaN makes the scale NaN, and with it every score of the rows that share it.
#pragma once

#include "arch/arch.h"
#include "device/numeric.cuh"
#include "quant/quantize.h"

namespace attn4j {

constexpr float kTinyMax = 1e-12f;  // the maximum of an all-zero group

// Lanes that hold one row: a power of two, so that shuffles stay inside the group. Lanes past the last channel hold 0.
template <int kD>
constexpr int kLanesPerRow = kD <= 64 ? 8 : 16;

// The image of K that mma/int8.cuh reads: tiles of 64 keys, each the INT8 values in core-matrix order followed by its
// scales, float [2][4]: scale[g][t] belongs to the 8 keys {32g + 8i + 2t + e : i < 4, e < 2} of the tile. Unused bytes
// fill the last line: cp.async writes a line of memory at a time, and a tile that begins inside one costs a quarter
// more.
template <int kD>
struct Int8KeyImage {
  static constexpr int kKeys = 64;
  static constexpr int kScaleOffset = kKeys * kD, kScaleBytes = kKeys / 32 * 4 * 4, kTail = 128;
  static constexpr int kBytes = kScaleOffset + kTail;
  __host__ __device__ static int64_t offset(int64_t first_key) { return first_key / kKeys * kBytes; }
};

__device__ __forceinline__ float int_to_float(int32_t x) {
  if constexpr (arch::kSlowIntToFloat) {
    return __int_as_float(x + 0x4B400000) - 12582912.f;  // exact for |x| < 2^22; scores stay below 127 * 127 * 128
  } else {
    return __int2float_rn(x);
  }
}

__device__ __forceinline__ float max_abs(const float (&x)[8]) {
  float m = 0.f;
#pragma unroll
  for (int i = 0; i < 8; i++) m = ptx::max_nan(m, fabsf(x[i]));
  return m;
}

template <int kLanes>
__device__ __forceinline__ float row_max(float x) {
#pragma unroll
  for (int o = kLanes / 2; o > 0; o >>= 1) x = ptx::max_nan(x, __shfl_xor_sync(kFullWarp, x, o));
  return x;
}

// 8 values times 127 / max|x|, rounded, as 8 bytes.
__device__ __forceinline__ uint2 to_int8(const float (&x)[8], float inverse) {
  int32_t z[8];
#pragma unroll
  for (int i = 0; i < 8; i++) z[i] = min(max(__float2int_rn(x[i] * inverse), -127), 127);
  return make_uint2(__byte_perm(__byte_perm(z[0], z[1], 0x0040), __byte_perm(z[2], z[3], 0x0040), 0x5410),
                    __byte_perm(__byte_perm(z[4], z[5], 0x0040), __byte_perm(z[6], z[7], 0x0040), 0x5410));
}

__device__ __forceinline__ float inverse_scale(float max) { return 127.f / ptx::max_nan(max, kTinyMax); }
__device__ __forceinline__ float scale_of(float max) { return ptx::max_nan(max, kTinyMax) * (1.f / 127.f); }

// Channels of a head_dim that lane column c holds: 8 but for the last column.
__device__ __forceinline__ int valid_channels(int head_dim, int c) { return min(max(head_dim - 8 * c, 0), 8); }

// mean[d] of one head from its chunks' parts, in a fixed order. head_index = b * heads + h.
__device__ __forceinline__ float mean_channel(const RowsView& k, const float* sums, int chunks, int64_t head_index,
                                              int d) {
  float sum = 0.f;
#pragma unroll 2  // with more ptxas spills registers on 12.x
  for (int i = 0; i < chunks; i++) sum += sums[(head_index * chunks + i) * k.head_dim + d];
  return sum;
}

// Where quantised queries go.
struct QueryTile {
  char* values = nullptr;       // [kRows][kD] in core-matrix order
  float* scales = nullptr;      // [kRows], with the softmax scale and log2(e)
  float* products = nullptr;    // [lq] or null: mean . q in log2 units, of the rows that exist
  const float* mean = nullptr;  // [head_dim] or null: products are 0
};

// Scales of queries stay above 0 where the softmax scale is 0: -inf times a scale is -inf then, and never NaN.
constexpr float kLeastScale = 1e-20f;

__device__ __forceinline__ float query_scale(const PreparedCall& args, float max) {
  return ptx::max_nan(scale_of(max) * args.scale_log2, kLeastScale);
}

// The kRows queries from first_row on -> `tile`. Queries share a scale in groups of args.q_group (1, or a divisor of
// kRows).
template <int kD, DType T, int kRows, int kThreads>
__device__ __forceinline__ void quantize_queries(const PreparedCall& args, const typename Element<T>::type* q,
                                                 int first_row, const QueryTile& tile) {
  constexpr int kLanes = kLanesPerRow<kD>;
  constexpr int kPass = kThreads / kLanes;  // rows per pass
  const int c = threadIdx.x % kLanes, r0 = threadIdx.x / kLanes;
  const int valid = valid_channels(args.head_dim, c);
  const bool shared_scale = args.q_group > 1;
  unsigned* group_max = reinterpret_cast<unsigned*>(tile.scales);  // one slot per row; the first of each group counts
  if (shared_scale) {
    for (int r = threadIdx.x; r < kRows; r += kThreads) group_max[r] = 0;
    __syncthreads();
    for (int r = r0; r < kRows; r += kPass) {
      float x[8] = {};
      if (first_row + r < args.lq) load8<T>(x, q + (first_row + r) * args.q_stride.row + 8 * c, valid, args.vector_io);
      const float m = row_max<kLanes>(max_abs(x));
      // Bits of non-negative floats order as the floats do, NaN above all.
      if (c == 0) atomicMax(&group_max[r / args.q_group * args.q_group], __float_as_uint(m) & 0x7fffffffu);
    }
    __syncthreads();
  }
  // All rows are asked for before the first is needed: a CTA starts with this wait.
  uint4 words[kRows / kPass];
#pragma unroll
  for (int n = 0; n < kRows / kPass; n++) {
    const int row = first_row + r0 + n * kPass;
    const auto* p = reinterpret_cast<const uint16_t*>(q) + row * args.q_stride.row + 8 * c;
    words[n] = load8_words(p, row < args.lq ? valid : 0, args.vector_io);
  }
  float shift[8] = {};
  if (tile.mean != nullptr) {
    for (int i = 0; i < valid; i++) shift[i] = tile.mean[8 * c + i];
  }
#pragma unroll
  for (int n = 0; n < kRows / kPass; n++) {
    const int r = r0 + n * kPass;
    float x[8];
    unpack8<T>(x, words[n]);
    float m;
    if (shared_scale) {
      m = __uint_as_float(group_max[r / args.q_group * args.q_group]);
    } else {
      m = row_max<kLanes>(max_abs(x));
    }
    if (tile.products != nullptr) {
      float dot = 0.f;
#pragma unroll
      for (int i = 0; i < 8; i++) dot = fmaf(x[i], shift[i], dot);
#pragma unroll
      for (int o = kLanes / 2; o > 0; o >>= 1) dot += __shfl_xor_sync(kFullWarp, dot, o);
      if (c == 0 && first_row + r < args.lq) tile.products[first_row + r] = dot * args.scale_log2 * args.q_sign;
    }
    const uint2 z = to_int8(x, inverse_scale(m) * args.q_sign);
    if (8 * c < kD)
      *reinterpret_cast<uint2*>(tile.values + (r / 8) * 8 * kD + (c / 2) * 128 + (r % 8) * 16 + (c % 2) * 8) = z;
    if (c == 0 && !shared_scale) tile.scales[r] = query_scale(args, m);
  }
  if (shared_scale) {  // the maxima have been read by all: their slots take the scales
    __syncthreads();
    float mine[(kRows + kThreads - 1) / kThreads];
    int n = 0;
    for (int r = threadIdx.x; r < kRows; r += kThreads) {
      mine[n++] = query_scale(args, __uint_as_float(group_max[r / args.q_group * args.q_group]));
    }
    __syncthreads();
    n = 0;
    for (int r = threadIdx.x; r < kRows; r += kThreads) tile.scales[r] = mine[n++];
  }
}

}  // namespace attn4j
