// INT8 quantisation of whole tensors: the image of K that the attention kernel reads, and the plain rows of the public
// piece quant_int8. One kernel body, two ways to write.
#include "quant/int8.cuh"
#include "quant/quantize.h"

namespace attn4j {
namespace {

constexpr int kThreads = 256;
constexpr int kRows = 128;  // rows per CTA: a multiple of every scale group

// The scale group of row r of a CTA, as an index below kRows.
__device__ __forceinline__ int scale_group(int r, bool is_key, QuantGranularity granularity) {
  if (granularity == QuantGranularity::kPerThread) return is_key ? r / 32 * 4 + r % 8 / 2 : r;
  if (is_key) return r / 64;
  return granularity == QuantGranularity::kPerWarp ? r / 32 : 0;
}

// Writes into an image of attend_mma.cuh.
template <int kD>
struct ImageWriter {
  static constexpr int kLanes = kLanesPerRow<kD>;
  Int8Image out;
  int64_t head;  // b * hkv + h

  __device__ __forceinline__ float mean(const RowsView& k, int d) const {
    if (out.sums == nullptr) return 0.f;
    const float m = mean_channel(k, out.sums, MeanChunks(k.rows).count, head, d);
    if (out.mean != nullptr && blockIdx.x == 0) out.mean[head * k.head_dim + d] = m;
    return m;
  }
  __device__ __forceinline__ bool wants(int row) const { return row < out.rows_padded; }
  __device__ __forceinline__ int group(int r) const { return scale_group(r, true, out.granularity); }
  __device__ __forceinline__ int8_t* tile(int row) const {
    return out.image + Int8KeyImage<kD>::offset(head * out.rows_padded + row);
  }
  __device__ __forceinline__ void values(const RowsView&, int row, int c, uint2 z) const {
    const int r = row % Int8KeyImage<kD>::kKeys;
    if (8 * c < kD) {
      *reinterpret_cast<uint2*>(tile(row) + r / 8 * 8 * kD + c / 2 * 128 + r % 8 * 16 + c % 2 * 8) = z;
    }
  }
  __device__ __forceinline__ void scale(const RowsView&, int row, float s) const {
    const int r = row % Int8KeyImage<kD>::kKeys;
    if (r % 32 >= 8 || r % 2 != 0) return;  // the first key of each of the image's scale slots
    reinterpret_cast<float*>(tile(row) + Int8KeyImage<kD>::kScaleOffset)[r / 32 * 4 + r % 8 / 2] = s;
  }
};

// Writes [b][h][s][d] values and a scale per row.
template <int kLanes_>
struct RowsWriter {
  static constexpr int kLanes = kLanes_;
  Int8Rows out;
  int64_t head;
  int32_t rows;

  __device__ __forceinline__ float mean(const RowsView& x, int d) const {
    return out.mean != nullptr ? out.mean[head * x.head_dim + d] : 0.f;
  }
  __device__ __forceinline__ bool wants(int row) const { return row < rows; }
  __device__ __forceinline__ int group(int r) const { return scale_group(r, out.is_key, out.granularity); }
  __device__ __forceinline__ void values(const RowsView& x, int row, int c, uint2 z) const {
    int8_t* target = out.values + (head * rows + row) * x.head_dim + 8 * c;
    const int valid = valid_channels(x.head_dim, c);
    if (valid == 8 && x.head_dim % 8 == 0) {
      *reinterpret_cast<uint2*>(target) = z;
    } else {
      for (int i = 0; i < valid; i++) target[i] = static_cast<int8_t>((i < 4 ? z.x : z.y) >> (8 * (i % 4)));
    }
  }
  __device__ __forceinline__ void scale(const RowsView&, int row, float s) const { out.scales[head * rows + row] = s; }
};

// One CTA per kRows rows of a head. Rows stay in registers between the two steps: maxima, then values.
template <DType T, class Writer>
__global__ void __launch_bounds__(kThreads) int8_kernel(const RowsView x, Writer writer) {
  constexpr int kLanes = Writer::kLanes;
  constexpr int kPass = kThreads / kLanes, kPasses = kRows / kPass;
  __shared__ float shift[8 * kLanes];
  __shared__ unsigned group_max[kRows];
  const int c = threadIdx.x % kLanes, r0 = threadIdx.x / kLanes;
  const int head = blockIdx.y % x.heads, batch = blockIdx.y / x.heads;
  writer.head = blockIdx.y;
  const int first = blockIdx.x * kRows;
  const int end = x.lengths != nullptr ? min(max(x.lengths[batch], 0), x.rows) : x.rows;
  const int valid = valid_channels(x.head_dim, c);
  const auto* base = static_cast<const typename Element<T>::type*>(x.data) + batch * x.stride.batch +
                     head * x.stride.head + 8 * c;
  float data[kPasses][8];
#pragma unroll
  for (int n = 0; n < kPasses; n++) {
    const int row = first + n * kPass + r0;
    load8<T>(data[n], base + row * x.stride.row, row < end ? valid : 0, x.vector_io);
  }
  if (threadIdx.x < 8 * kLanes) {
    shift[threadIdx.x] = static_cast<int>(threadIdx.x) < x.head_dim ? writer.mean(x, threadIdx.x) : 0.f;
  }
  if (threadIdx.x < kRows) group_max[threadIdx.x] = 0;
  __syncthreads();
#pragma unroll
  for (int n = 0; n < kPasses; n++) {
    const int r = n * kPass + r0;
    if (first + r < end) {
#pragma unroll
      for (int i = 0; i < 8; i++) data[n][i] -= shift[8 * c + i];
    }
    const float m = row_max<kLanes>(max_abs(data[n]));
    if (c == 0) atomicMax(&group_max[writer.group(r)], __float_as_uint(m) & 0x7fffffffu);
  }
  __syncthreads();
#pragma unroll
  for (int n = 0; n < kPasses; n++) {
    const int r = n * kPass + r0;
    if (!writer.wants(first + r)) continue;
    const float m = __uint_as_float(group_max[writer.group(r)]);
    writer.values(x, first + r, c, to_int8(data[n], inverse_scale(m)));
    if (c == 0) writer.scale(x, first + r, scale_of(m));
  }
}

template <class Writer>
cudaError_t launch(const RowsView& x, const Writer& writer, int rows, cudaStream_t stream) {
  const dim3 grid((rows + kRows - 1) / kRows, x.batch * x.heads);
  if (x.dtype == DType::kFloat16) {
    int8_kernel<DType::kFloat16><<<grid, kThreads, 0, stream>>>(x, writer);
  } else {
    int8_kernel<DType::kBFloat16><<<grid, kThreads, 0, stream>>>(x, writer);
  }
  return cudaGetLastError();
}

}  // namespace

cudaError_t enqueue_int8_rows(const RowsView& x, const Int8Rows& out, cudaStream_t stream) {
  if (x.head_dim <= 64) return launch(x, RowsWriter<8>{out, 0, x.rows}, x.rows, stream);
  return launch(x, RowsWriter<16>{out, 0, x.rows}, x.rows, stream);
}

cudaError_t enqueue_int8_image(const RowsView& k, const Int8Image& out, cudaStream_t stream) {
  switch (out.compiled_d) {
    case 64: return launch(k, ImageWriter<64>{out, 0}, out.rows_padded, stream);
    case 96: return launch(k, ImageWriter<96>{out, 0}, out.rows_padded, stream);
    case 128: return launch(k, ImageWriter<128>{out, 0}, out.rows_padded, stream);
    default: return cudaErrorInvalidValue;
  }
}

int64_t int8_image_bytes(int64_t rows_padded, int32_t compiled_d) {
  return rows_padded * compiled_d + rows_padded / 8 * static_cast<int64_t>(sizeof(float));
}

}  // namespace attn4j
