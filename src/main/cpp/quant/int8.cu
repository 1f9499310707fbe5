// INT8 quantisation of whole tensors: the images that attention kernels read, and the plain rows of the public piece
// quant_int8. One body, several ways to write.
#include "device/launch.cuh"
#include "host/head_dim.h"
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

// Eight values of lane column c into row r of a run of core matrices (device/tile.cuh).
template <int kD>
__device__ __forceinline__ void store_piece(int8_t* run, int64_t r, int c, uint2 z) {
  if (8 * c < kD) *reinterpret_cast<uint2*>(run + r / 8 * 8 * kD + c / 2 * 128 + r % 8 * 16 + c % 2 * 8) = z;
}

// Whether row r is the first of the 8 keys {32g + 8i + 2t + e} that share a slot for a scale.
__device__ __forceinline__ bool starts_scale_slot(int r) { return r % 32 < 8 && r % 2 == 0; }

// A writer says where the mean comes from and where values and scales go. `head` = b * heads + h of its tensor.

// Writes into an image of mma/int8.cuh.
template <int kD>
struct ImageWriter {
  static constexpr int kLanes = kLanesPerRow<kD>;
  static constexpr bool kSubtractsMean = true;
  Int8Image out;

  __device__ __forceinline__ float mean(const RowsView& k, int64_t head, int first_row, int d) const {
    if (out.sums == nullptr) return 0.f;
    const float m = mean_channel(k, out.sums, MeanChunks(k).count, head, d);
    if (out.mean != nullptr && first_row == 0) out.mean[head * k.head_dim + d] = m;
    return m;
  }
  __device__ __forceinline__ bool wants(int row) const { return row < out.rows_padded; }
  __device__ __forceinline__ int group(int r) const { return scale_group(r, true, out.granularity); }
  __device__ __forceinline__ float sign() const { return 1.f; }
  __device__ __forceinline__ int8_t* tile(int64_t head, int row) const {
    return out.image + Int8KeyImage<kD>::offset(head * out.rows_padded + row);
  }
  __device__ __forceinline__ void values(const RowsView&, int64_t head, int row, int c, uint2 z) const {
    store_piece<kD>(tile(head, row), row % Int8KeyImage<kD>::kKeys, c, z);
  }
  __device__ __forceinline__ void scale(int64_t head, int row, float s) const {
    const int r = row % Int8KeyImage<kD>::kKeys;
    if (!starts_scale_slot(r)) return;
    float* scales = reinterpret_cast<float*>(tile(head, row) + Int8KeyImage<kD>::kScaleOffset);
    scales[r / 32 * 4 + r % 8 / 2] = s;
  }
};

// Writes K's half of a pair of images.
template <int kD>
struct PairKeyWriter {
  static constexpr int kLanes = kLanesPerRow<kD>;
  static constexpr bool kSubtractsMean = true;
  PreparedCall args;
  Int8Pair options;

  __device__ __forceinline__ float mean(const RowsView& k, int64_t head, int, int d) const {
    return options.sums == nullptr ? 0.f : mean_channel(k, options.sums, MeanChunks(k).count, head, d);
  }
  __device__ __forceinline__ bool wants(int row) const { return row < args.lk_padded; }
  __device__ __forceinline__ int group(int r) const { return scale_group(r, true, options.granularity); }
  __device__ __forceinline__ float sign() const { return 1.f; }
  __device__ __forceinline__ void values(const RowsView&, int64_t head, int row, int c, uint2 z) const {
    store_piece<kD>(const_cast<int8_t*>(args.k_image) + head * args.lk_padded * kD, row, c, z);
  }
  __device__ __forceinline__ void scale(int64_t head, int row, float s) const {
    if (!starts_scale_slot(row)) return;
    const_cast<float*>(args.k_scale)[head * (args.lk_padded / 8) + row / 32 * 4 + row % 8 / 2] = s;
  }
};

// Writes Q's half, and per row the product with K's mean that the LSE needs.
template <int kD>
struct PairQueryWriter {
  static constexpr int kLanes = kLanesPerRow<kD>;
  static constexpr bool kSubtractsMean = false;
  PreparedCall args;
  Int8Pair options;
  RowsView k;

  __device__ __forceinline__ bool corrects() const { return args.lse != nullptr && options.sums != nullptr; }
  __device__ __forceinline__ float mean(const RowsView&, int64_t head, int, int d) const {
    if (!corrects()) return 0.f;
    const int64_t kv_head = head / args.heads_q * args.heads_kv + head % args.heads_q / args.group;
    return mean_channel(k, options.sums, MeanChunks(k).count, kv_head, d);
  }
  __device__ __forceinline__ bool wants(int row) const { return row < args.lq_padded; }
  __device__ __forceinline__ int group(int r) const { return scale_group(r, false, options.granularity); }
  __device__ __forceinline__ float sign() const { return args.q_sign; }
  __device__ __forceinline__ void values(const RowsView&, int64_t head, int row, int c, uint2 z) const {
    store_piece<kD>(const_cast<int8_t*>(args.q_image) + head * args.lq_padded * kD, row, c, z);
  }
  __device__ __forceinline__ void scale(int64_t head, int row, float s) const {
    const_cast<float*>(args.q_scale)[head * args.lq_padded + row] = s * args.scale_log2;
  }
  __device__ __forceinline__ void product(int64_t head, int row, float x) const {
    const int64_t heads = static_cast<int64_t>(args.batch) * args.heads_q;
    const_cast<float*>(args.q_scale)[(heads + head) * args.lq_padded + row] = x * args.scale_log2 * args.q_sign;
  }
};

// Writes [b][h][s][d] values and a scale per row.
template <int kLanes_>
struct RowsWriter {
  static constexpr int kLanes = kLanes_;
  static constexpr bool kSubtractsMean = true;
  Int8Rows out;
  int32_t rows;

  __device__ __forceinline__ float mean(const RowsView& x, int64_t head, int, int d) const {
    return out.mean != nullptr ? out.mean[head * x.head_dim + d] : 0.f;
  }
  __device__ __forceinline__ bool wants(int row) const { return row < rows; }
  __device__ __forceinline__ int group(int r) const { return scale_group(r, out.is_key, out.granularity); }
  __device__ __forceinline__ float sign() const { return 1.f; }
  __device__ __forceinline__ void values(const RowsView& x, int64_t head, int row, int c, uint2 z) const {
    int8_t* target = out.values + (head * rows + row) * x.head_dim + 8 * c;
    const int valid = valid_channels(x.head_dim, c);
    if (valid == 8 && x.head_dim % 8 == 0) {
      *reinterpret_cast<uint2*>(target) = z;
    } else {
      for (int i = 0; i < valid; i++) target[i] = static_cast<int8_t>((i < 4 ? z.x : z.y) >> (8 * (i % 4)));
    }
  }
  __device__ __forceinline__ void scale(int64_t head, int row, float s) const { out.scales[head * rows + row] = s; }
};

// Quantises rows [first, first + kRows) of one head. Rows stay in registers between the two steps: maxima, then values.
template <DType T, class Writer>
__device__ __forceinline__ void quantize_rows(const RowsView& x, const Writer& writer, int64_t head_index, int first) {
  constexpr int kLanes = Writer::kLanes;
  constexpr int kPass = kThreads / kLanes, kPasses = kRows / kPass;
  __shared__ float shift[8 * kLanes];
  __shared__ unsigned group_max[kRows];
  const int c = threadIdx.x % kLanes, r0 = threadIdx.x / kLanes;
  const int head = static_cast<int>(head_index % x.heads), batch = static_cast<int>(head_index / x.heads);
  const int end = x.lengths != nullptr ? min(max(x.lengths[batch], 0), x.rows) : x.rows;
  const int valid = valid_channels(x.head_dim, c);
  const auto* base =
      static_cast<const typename Element<T>::type*>(x.data) + batch * x.stride.batch + head * x.stride.head + 8 * c;
  float data[kPasses][8];
#pragma unroll
  for (int n = 0; n < kPasses; n++) {
    const int row = first + n * kPass + r0;
    const int place = row < end ? place_of_row(x, batch, row) : 0;
    load8<T>(data[n], base + place * x.stride.row, row < end ? valid : 0, x.vector_io);
  }
  if (threadIdx.x < 8 * kLanes) {
    shift[threadIdx.x] =
        static_cast<int>(threadIdx.x) < x.head_dim ? writer.mean(x, head_index, first, threadIdx.x) : 0.f;
  }
  if (threadIdx.x < kRows) group_max[threadIdx.x] = 0;
  __syncthreads();
#pragma unroll
  for (int n = 0; n < kPasses; n++) {
    const int r = n * kPass + r0;
    if constexpr (Writer::kSubtractsMean) {
      if (first + r < end) {
#pragma unroll
        for (int i = 0; i < 8; i++) data[n][i] -= shift[8 * c + i];
      }
    }
    const float m = row_max<kLanes>(max_abs(data[n]));
    if (c == 0) atomicMax(&group_max[writer.group(r)], __float_as_uint(m) & 0x7fffffffu);
  }
  __syncthreads();
#pragma unroll
  for (int n = 0; n < kPasses; n++) {
    const int r = n * kPass + r0;
    if (!writer.wants(first + r)) continue;  // the same for a whole warp: padded lengths are multiples of 8
    const float m = __uint_as_float(group_max[writer.group(r)]);
    writer.values(x, head_index, first + r, c, to_int8(data[n], inverse_scale(m) * writer.sign()));
    if (c == 0) writer.scale(head_index, first + r, scale_of(m));
    if constexpr (!Writer::kSubtractsMean) {
      float dot = 0.f;
#pragma unroll
      for (int i = 0; i < 8; i++) dot = fmaf(data[n][i], shift[8 * c + i], dot);
#pragma unroll
      for (int o = kLanes / 2; o > 0; o >>= 1) dot += __shfl_xor_sync(kFullWarp, dot, o);
      if (c == 0) writer.product(head_index, first + r, dot);
    }
  }
}

// One CTA per kRows rows of a head, which has `blocks` of them. Heads and blocks share the one dimension of a grid that
// takes 2^31 - 1 CTAs.
template <DType T, class Writer>
__global__ void __launch_bounds__(kThreads) int8_kernel(const RowsView x, const Writer writer, unsigned blocks) {
  const unsigned head = blockIdx.x / blocks;
  quantize_rows<T>(x, writer, head, (blockIdx.x - head * blocks) * kRows);
}

// The heads of K first, then those of Q.
template <DType T, int kD>
__global__ void __launch_bounds__(kThreads)
    int8_pair_kernel(const RowsView k, const PairQueryWriter<kD> writer, const RowsView q, unsigned blocks) {
  const unsigned kv_heads = k.batch * k.heads, head = blockIdx.x / blocks;
  const int first = (blockIdx.x - head * blocks) * kRows;
  if (head < kv_heads) {
    if (first < writer.args.lk_padded) {
      quantize_rows<T>(k, PairKeyWriter<kD>{writer.args, writer.options}, head, first);
    }
  } else if (first < writer.args.lq_padded) {
    quantize_rows<T>(q, writer, head - kv_heads, first);
  }
}

// A grid for `rows` rows of each head.
struct HeadGrid {
  unsigned blocks, ctas;
  cudaError_t error;
  HeadGrid(int rows, int64_t heads) : blocks((rows + kRows - 1) / kRows) {
    const int64_t all = heads * blocks;
    error = all > INT32_MAX ? cudaErrorInvalidConfiguration : cudaSuccess;
    ctas = static_cast<unsigned>(all);
  }
};

template <class Writer>
cudaError_t launch(const RowsView& x, const Writer& writer, int rows, cudaStream_t stream) {
  const HeadGrid grid(rows, static_cast<int64_t>(x.batch) * x.heads);
  if (grid.error != cudaSuccess) return grid.error;
  if (x.dtype == DType::kFloat16) {
    return enqueue_kernel(int8_kernel<DType::kFloat16, Writer>, grid.ctas, kThreads, 0, stream, x, writer, grid.blocks);
  }
  return enqueue_kernel(int8_kernel<DType::kBFloat16, Writer>, grid.ctas, kThreads, 0, stream, x, writer, grid.blocks);
}

template <int kD>
cudaError_t launch_pair(const RowsView& k, const RowsView& q, const PreparedCall& args, const Int8Pair& options,
                        cudaStream_t stream) {
  const PairQueryWriter<kD> writer{args, options, k};
  const int rows = args.lk_padded > args.lq_padded ? args.lk_padded : args.lq_padded;
  const HeadGrid grid(rows, static_cast<int64_t>(k.batch) * k.heads + static_cast<int64_t>(q.batch) * q.heads);
  if (grid.error != cudaSuccess) return grid.error;
  if (k.dtype == DType::kFloat16) {
    return enqueue_kernel(int8_pair_kernel<DType::kFloat16, kD>, grid.ctas, kThreads, 0, stream, k, writer, q,
                          grid.blocks);
  }
  return enqueue_kernel(int8_pair_kernel<DType::kBFloat16, kD>, grid.ctas, kThreads, 0, stream, k, writer, q,
                        grid.blocks);
}

}  // namespace

cudaError_t enqueue_int8_rows(const RowsView& x, const Int8Rows& out, cudaStream_t stream) {
  if (x.head_dim <= 64) return launch(x, RowsWriter<8>{out, x.rows}, x.rows, stream);
  return launch(x, RowsWriter<16>{out, x.rows}, x.rows, stream);
}

cudaError_t enqueue_int8_image(const RowsView& k, const Int8Image& out, cudaStream_t stream) {
  return QuantisedHeadDims::with(out.compiled_d,
                                 [&](auto d) { return launch(k, ImageWriter<d()>{out}, out.rows_padded, stream); });
}

cudaError_t enqueue_int8_pair(const RowsView& k, const RowsView& q, const PreparedCall& args, const Int8Pair& options,
                              cudaStream_t stream) {
  return QuantisedHeadDims::with(options.compiled_d,
                                 [&](auto d) { return launch_pair<d()>(k, q, args, options, stream); });
}

int64_t int8_image_bytes(int64_t rows_padded, int32_t compiled_d) {
  return rows_padded / 64 * (64 * static_cast<int64_t>(compiled_d) + 128);  // Int8KeyImage
}

}  // namespace attn4j
