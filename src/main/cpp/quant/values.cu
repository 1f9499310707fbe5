// Images of V for the kernels on mma.sync (quant/values.h).
#include <algorithm>
#include <cmath>

#include "arch/arch.h"
#include "device/launch.cuh"
#include "device/ptx/fp8.cuh"
#include "device/tile.cuh"
#include "host/head_dim.h"
#include "quant/int8.cuh"
#include "quant/samples.cuh"
#include "quant/values.h"

namespace attn4j {
namespace {

constexpr int kThreads = 256;
constexpr int kTileKeys = 64;
// Keys that V's mean is taken over, and those of the beginning that have a say in whether it is subtracted.
constexpr int kMeanSamples = 256, kFirstKeys = 16;

__device__ __forceinline__ int value_rows(const RowsView& v, int batch) {
  return v.lengths != nullptr ? min(max(v.lengths[batch], 0), v.rows) : v.rows;
}

template <DType T>
__device__ __forceinline__ const typename Element<T>::type* head_of(const RowsView& v, int flat_head) {
  const int head = flat_head % v.heads, batch = flat_head / v.heads;
  return static_cast<const typename Element<T>::type*>(v.data) + batch * v.stride.batch + head * v.stride.head;
}

// Where row r of a tile stands in the tensor, of rows below `end`.
__device__ __forceinline__ int place_in_tile(const RowsView& v, int head, int tile, int r, int end) {
  return r < end ? place_of_row(v, head / v.heads, tile * kTileKeys + r) : 0;
}

// What is kept of a kv head: for each chunk of keys the largest v of each channel and the largest -v, of finite values;
// then the mean that may be subtracted. -inf where there is no value.
template <int D>
struct ValueStatistics {
  static constexpr int kSize = (2 * MeanChunks::kMax + 1) * D;
  float* base;
  __device__ __forceinline__ float* highest(int chunk) const { return base + 2 * D * chunk; }
  __device__ __forceinline__ float* lowest(int chunk) const { return highest(chunk) + D; }
  __device__ __forceinline__ float* mean() const { return base + 2 * D * MeanChunks::kMax; }
};

// ------------------------------------------------------------------------------------------------------- statistics

// Extremes of a chunk of keys.
template <int D, DType T>
__device__ __forceinline__ void extremes_of_chunk(const RowsView& v, const ValueStatistics<D>& out, int head, int chunk,
                                                  int chunk_rows) {
  constexpr int kLanes = kLanesPerRow<D>, kPass = kThreads / kLanes;
  __shared__ float part[2][kPass][8 * kLanes + 1];
  const int c = threadIdx.x % kLanes, r0 = threadIdx.x / kLanes, valid = valid_channels(v.head_dim, c);
  const int first = chunk * chunk_rows, last = min(first + chunk_rows, value_rows(v, head / v.heads));
  const auto* base = head_of<T>(v, head) + 8 * c;
  float high[8], low[8];
#pragma unroll
  for (int i = 0; i < 8; i++) high[i] = low[i] = -kInfinity;
#pragma unroll 4
  for (int r = first + r0; r < last; r += kPass) {
    float x[8];
    load8<T>(x, base + place_of_row(v, head / v.heads, r) * v.stride.row, valid, v.vector_io);
#pragma unroll
    for (int i = 0; i < 8; i++) {
      const bool finite = fabsf(x[i]) < kInfinity;
      high[i] = finite ? fmaxf(high[i], x[i]) : high[i];
      low[i] = finite ? fmaxf(low[i], -x[i]) : low[i];
    }
  }
#pragma unroll
  for (int i = 0; i < 8; i++) part[0][r0][8 * c + i] = high[i], part[1][r0][8 * c + i] = low[i];
  __syncthreads();
  for (int d = threadIdx.x; d < 2 * D; d += kThreads) {
    float most = -kInfinity;
    for (int i = 0; i < kPass; i++) most = fmaxf(most, part[d / D][i][d % D]);
    (d < D ? out.highest(chunk) : out.lowest(chunk))[d % D] = most;
  }
}

// Of sampled keys; 0 where one of them, or one of the first keys, is nearer to zero than to the mean. e4m3 is finest
// around zero, and there the values of attention sinks lie, which have much of a row's weight by themselves.
template <int D, DType T>
__device__ __forceinline__ void mean_of_values(const RowsView& v, const ValueStatistics<D>& out, int head) {
  constexpr int kLanes = kLanesPerRow<D>, kPass = kThreads / kLanes;
  __shared__ float part[kPass][8 * kLanes + 1];
  __shared__ float means[8 * kLanes];
  const int c = threadIdx.x % kLanes, r0 = threadIdx.x / kLanes, valid = valid_channels(v.head_dim, c);
  const int keys = value_rows(v, head / v.heads), first_keys = min(kFirstKeys, keys);
  const SampledKeys samples(keys, kMeanSamples);
  const int count = samples.count;
  const auto* base = head_of<T>(v, head) + 8 * c;
  const auto row_of = [&](int key) { return base + place_of_row(v, head / v.heads, key) * v.stride.row; };
  float sum[8] = {};
#pragma unroll 4
  for (int i = r0; i < count; i += kPass) {
    float x[8];
    load8<T>(x, row_of(samples.key(i)), valid, v.vector_io);
#pragma unroll
    for (int e = 0; e < 8; e++) sum[e] += fabsf(x[e]) < kInfinity ? x[e] : 0.f;
  }
#pragma unroll
  for (int e = 0; e < 8; e++) part[r0][8 * c + e] = sum[e];
  __syncthreads();
  if (threadIdx.x < 8 * kLanes) {
    float all = 0.f;
    for (int i = 0; i < kPass; i++) all += part[i][threadIdx.x];
    all = count > 0 ? all / static_cast<float>(count) : 0.f;
    means[threadIdx.x] = fabsf(all) < kInfinity ? all : 0.f;
  }
  __syncthreads();
  bool contradicts = false;
#pragma unroll 1
  for (int first = 0; first < count + first_keys; first += kPass) {
    const int i = first + r0;
    float closer = 0.f;  // |v|^2 - |v - mean|^2
    if (i < count + first_keys) {
      float x[8];
      load8<T>(x, row_of(i < count ? samples.key(i) : i - count), valid, v.vector_io);
#pragma unroll
      for (int e = 0; e < 8; e++) {
        const float m = means[8 * c + e];
        closer = fmaf(m, 2.f * x[e] - m, closer);
      }
    }
#pragma unroll
    for (int o = kLanes / 2; o > 0; o >>= 1) closer += __shfl_xor_sync(kFullWarp, closer, o);
    contradicts |= closer < 0.f;
  }
  const bool none = __syncthreads_or(contradicts);
  if (threadIdx.x < D) out.mean()[threadIdx.x] = none ? 0.f : means[threadIdx.x];
}

// One CTA per head and chunk, and of FP8 one more per head.
template <int D, DType T>
__global__ void __launch_bounds__(kThreads)
    value_statistics_kernel(const RowsView v, const ValueImage out, int chunk_rows, int chunks) {
  const int head = blockIdx.x, chunk = blockIdx.y;
  const ValueStatistics<D> statistics{out.statistics + static_cast<int64_t>(head) * ValueStatistics<D>::kSize};
  if (chunk < chunks) {
    extremes_of_chunk<D, T>(v, statistics, head, chunk, chunk_rows);
  } else {
    mean_of_values<D, T>(v, statistics, head);
  }
  float* scales = out.scales + static_cast<int64_t>(head) * v_scale_size(D);
  if (chunk == 0 && threadIdx.x < D) scales[D + threadIdx.x] = kNoError;
}

// ------------------------------------------------------------------------------------------------------------ images

// A channel of V becomes v * factor - shift.
struct Transform {
  float factor, shift;
};

// Of a channel, from the extremes of all chunks; chunk 0's CTA writes what attention undoes it with.
template <int D>
__device__ __forceinline__ Transform transform_of(const ValueImage& out, const ValueStatistics<D>& s, int chunks,
                                                  int channel, bool with_mean) {
  float highest = -kInfinity, lowest = -kInfinity;
  for (int i = 0; i < chunks; i++) {
    highest = fmaxf(highest, s.highest(i)[channel]), lowest = fmaxf(lowest, s.lowest(i)[channel]);
  }
  if (!out.fp8) {  // a power of two: nothing is rounded
    const float most = fmaxf(highest, lowest);
    const int exponent = most > 0.f ? max(static_cast<int>(__float_as_uint(most) >> 23) - 127, -100) : 0;
    return {ldexpf(1.f, -exponent), 0.f};
  }
  // Factor and shift are numbers of few bits, so that what is rounded is V alone; that moves values by at most 2^-8 of
  // the shift.
  const float mean = with_mean ? s.mean()[channel] : 0.f;
  const float most = fmaf(fabsf(mean), 0x1p-8f, fmaxf(highest - mean, lowest + mean));
  const float x = most > 0.f ? fminf(out.largest / most, 0x1p120f) : 0.f;
  const float factor = __uint_as_float(__float_as_uint(x) & 0xffff0000u);
  return {factor, __bfloat162float(__float2bfloat16_rn(mean * factor))};
}

// Whether no key can be a sink with values near zero: in some channel none comes near. For all threads.
template <int D>
__device__ __forceinline__ bool values_keep_away_from_zero(const ValueStatistics<D>& s, int chunks) {
  constexpr float kNear = 0.125f;  // of the mean
  bool found = false;
  for (int c = threadIdx.x; c < D; c += kThreads) {
    float highest = -kInfinity, lowest = -kInfinity;
    for (int i = 0; i < chunks; i++) {
      highest = fmaxf(highest, s.highest(i)[c]), lowest = fmaxf(lowest, s.lowest(i)[c]);
    }
    const float bound = kNear * s.mean()[c];
    found |= (bound > 0.f && -lowest > bound) || (bound < 0.f && highest < bound);
  }
  return __syncthreads_or(found);
}

// 16 keys of a channel, from row `row` of the tile on: codes in the order of a half, and the integer sum of what
// rounding took, in error units.
template <int D, DType T>
__device__ __forceinline__ int quantise_half(const uint16_t* rows, int pitch, int count, const Transform& t,
                                             float per_unit, uint4* codes) {
  uint32_t words[4];
  int error = 0;
#pragma unroll
  for (int q = 0; q < 4; q++) {
    float x[4];
    uint32_t bad = 0;
#pragma unroll
    for (int j = 0; j < 4; j++) {
      const int key = 8 * (j >> 1) + 2 * q + (j & 1);
      const float v = Element<T>::to_float(rows[key * pitch]);
      const bool exists = key < count, finite = fabsf(v) < kInfinity;
      x[j] = exists && finite ? fmaf(v, t.factor, -t.shift) : 0.f;
      if (exists && !finite) bad |= 0x7fu << 8 * j;
    }
    const uint32_t code = ptx::pack_e4m3x4(x[0], x[1], x[2], x[3]);
#pragma unroll
    for (int j = 0; j < 2; j++) {
      const uint32_t two = ptx::unpack_e4m3x2(static_cast<uint16_t>(code >> 16 * j));
      const float2 back = Element<DType::kFloat16>::unpack(two);
      error += __float2int_rn((x[2 * j] - back.x) * per_unit) + __float2int_rn((x[2 * j + 1] - back.y) * per_unit);
    }
    words[q] = code | bad;  // NaN: 0x7f whatever was there
  }
  *codes = make_uint4(words[0], words[1], words[2], words[3]);
  return error;
}

// One CTA per tile of 64 keys.
template <int D, DType T>
__device__ __forceinline__ void write_e4m3_tile(const RowsView& v, const ValueImage& out, const Transform* transforms,
                                                int head, int tile) {
  constexpr int kPitch = D + 2;  // neighbouring rows begin in different banks
  __shared__ __align__(16) uint16_t rows[kTileKeys * kPitch];
  __shared__ int errors[D];
  const int end = value_rows(v, head / v.heads) - tile * kTileKeys;
  for (int i = threadIdx.x; i < kTileKeys * (D / 8); i += kThreads) {
    const int r = i / (D / 8), c = i % (D / 8);
    const auto* p = reinterpret_cast<const uint16_t*>(head_of<T>(v, head)) +
                    place_in_tile(v, head, tile, r, end) * v.stride.row + 8 * c;
    const uint4 w = load8_words(p, r < end ? valid_channels(v.head_dim, c) : 0, v.vector_io);
    uint32_t* to = reinterpret_cast<uint32_t*>(rows + r * kPitch + 8 * c);
    to[0] = w.x, to[1] = w.y, to[2] = w.z, to[3] = w.w;
  }
  if (threadIdx.x < D) errors[threadIdx.x] = 0;
  __syncthreads();
  uint8_t* image = out.image + (static_cast<int64_t>(head) * out.rows_padded + tile * kTileKeys) * D;
  const float per_unit = 1.f / out.error_unit;
  for (int i = threadIdx.x; i < 4 * D; i += kThreads) {
    const int channel = i % D, half = i / D;  // four halves of 16 keys
    uint4 codes;
    const int error = quantise_half<D, T>(rows + 16 * half * kPitch + channel, kPitch, end - 16 * half,
                                          transforms[channel], per_unit, &codes);
    *reinterpret_cast<uint4*>(image + half / 2 * 32 * D + channel / 8 * 256 + half % 2 * 128 + channel % 8 * 16) =
        codes;
    atomicAdd(&errors[channel], error);
  }
  __syncthreads();
  if (threadIdx.x < D) {
    auto* sums = reinterpret_cast<int*>(out.scales + static_cast<int64_t>(head) * v_scale_size(D) + D);
    if (errors[threadIdx.x] != 0) atomicAdd(sums + threadIdx.x, errors[threadIdx.x]);
  }
}

template <int D, DType T>
__device__ __forceinline__ void write_f16_tile(const RowsView& v, const ValueImage& out, const Transform* transforms,
                                               int head, int tile) {
  using Panels = PanelTile<kTileKeys, D>;
  const int end = value_rows(v, head / v.heads) - tile * kTileKeys;
  uint8_t* image = out.image + 2 * (static_cast<int64_t>(head) * out.rows_padded + tile * kTileKeys) * D;
  for (int i = threadIdx.x; i < kTileKeys * (D / 8); i += kThreads) {
    const int r = i / (D / 8), c = i % (D / 8);
    float x[8] = {};
    load8<T>(x, head_of<T>(v, head) + place_in_tile(v, head, tile, r, end) * v.stride.row + 8 * c,
             r < end ? valid_channels(v.head_dim, c) : 0, v.vector_io);
    uint32_t w[4];
#pragma unroll
    for (int e = 0; e < 4; e++) {
      w[e] = Element<DType::kFloat16>::pack(x[2 * e] * transforms[8 * c + 2 * e].factor,
                                            x[2 * e + 1] * transforms[8 * c + 2 * e + 1].factor);
    }
    const int at = c < 8 * Panels::kWidePanels ? c / 8 * Panels::kPanelBytes + r * 128 + ((c % 8 ^ r % 8) << 4)
                                               : Panels::kNarrow + r * 64 + ((c % 4 ^ r / 2 % 4) << 4);
    *reinterpret_cast<uint4*>(image + at) = make_uint4(w[0], w[1], w[2], w[3]);
  }
}

template <int D, DType T, bool kFp8>
__global__ void __launch_bounds__(kThreads)
    value_image_kernel(const RowsView v, const ValueImage out, int chunks, int tiles) {
  __shared__ Transform transforms[D];
  const int head = blockIdx.x / tiles, tile = blockIdx.x - head * tiles;
  const ValueStatistics<D> statistics{out.statistics + static_cast<int64_t>(head) * ValueStatistics<D>::kSize};
  const bool with_mean = kFp8 && values_keep_away_from_zero<D>(statistics, chunks);
  for (int c = threadIdx.x; c < D; c += kThreads) {
    const Transform t = transform_of<D>(out, statistics, chunks, c, with_mean);
    transforms[c] = t;
    if (tile > 0) continue;
    float* scales = out.scales + static_cast<int64_t>(head) * v_scale_size(D);
    const float scale = t.factor > 0.f ? 1.f / t.factor : 0.f;
    scales[c] = scale, scales[2 * D + c] = t.shift * scale;
  }
  __syncthreads();
  if constexpr (kFp8) {
    write_e4m3_tile<D, T>(v, out, transforms, head, tile);
  } else {
    write_f16_tile<D, T>(v, out, transforms, head, tile);
  }
}

template <int D, DType T>
cudaError_t enqueue_statistics(const RowsView& v, const ValueImage& out, cudaStream_t stream) {
  const MeanChunks chunks(v.rows);
  const dim3 ctas(v.batch * v.heads, chunks.count + (out.fp8 ? 1 : 0));
  return enqueue_kernel(value_statistics_kernel<D, T>, ctas, kThreads, 0, stream, v, out, chunks.rows, chunks.count);
}

template <int D, DType T, bool kFp8>
cudaError_t enqueue_image(const RowsView& v, const ValueImage& out, cudaStream_t stream) {
  const int tiles = out.rows_padded / kTileKeys;
  const int64_t ctas = static_cast<int64_t>(v.batch) * v.heads * tiles;
  if (ctas > INT32_MAX) return cudaErrorInvalidConfiguration;
  return enqueue_kernel(value_image_kernel<D, T, kFp8>, dim3(static_cast<unsigned>(ctas)), kThreads, 0, stream, v, out,
                        MeanChunks(v.rows).count, tiles);
}

template <int D>
cudaError_t enqueue_image(const RowsView& v, const ValueImage& out, cudaStream_t stream) {
  if (!out.fp8) {  // fp16 is taken as it is
    return v.dtype == DType::kBFloat16 ? enqueue_image<D, DType::kBFloat16, false>(v, out, stream)
                                       : cudaErrorNotSupported;
  }
  if constexpr (arch::kHasE4m3) {
    return v.dtype == DType::kFloat16 ? enqueue_image<D, DType::kFloat16, true>(v, out, stream)
                                      : enqueue_image<D, DType::kBFloat16, true>(v, out, stream);
  }
  return cudaErrorNotSupported;
}

}  // namespace

int64_t value_statistics_size(int32_t compiled_d) { return (2 * MeanChunks::kMax + 1) * int64_t{compiled_d}; }

int64_t value_image_bytes(int64_t rows_padded, int32_t compiled_d, bool fp8) {
  return rows_padded * compiled_d * (fp8 ? 1 : 2);
}

float value_error_unit(int32_t keys, float largest) {
  // Rounding moves a value by at most 2^-4 of the power of two below it; sums must stay within 2^22 units.
  return std::ldexp(1.f, std::ilogb(std::max(1, keys)) + 1 + std::ilogb(largest) - 4 - 22);
}

cudaError_t enqueue_value_statistics(const RowsView& v, const ValueImage& out, cudaStream_t stream) {
  return QuantisedHeadDims::with(out.compiled_d, [&](auto d) {
    return v.dtype == DType::kFloat16 ? enqueue_statistics<d(), DType::kFloat16>(v, out, stream)
                                      : enqueue_statistics<d(), DType::kBFloat16>(v, out, stream);
  });
}

cudaError_t enqueue_value_image(const RowsView& v, const ValueImage& out, cudaStream_t stream) {
  return QuantisedHeadDims::with(out.compiled_d, [&](auto d) { return enqueue_image<d()>(v, out, stream); });
}

}  // namespace attn4j
