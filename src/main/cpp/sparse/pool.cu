// Mean and self-similarity of blocks of rows (SpargeAttn, arXiv:2502.18137, section 3.3).
//
// The self-similarity of rows x_1..x_n is the mean of all n^2 cosines. Their sum is |sum of x_i / |x_i||^2: one pass
// over the rows, where the matrix of cosines would take n of them.
#include "device/launch.cuh"
#include "quant/int8.cuh"
#include "sparse/predict.h"

namespace attn4j {
namespace {

constexpr int kThreads = 256;

// One CTA per block. kLanes lanes hold a row, 8 channels each.
template <int kLanes, DType T>
__global__ void __launch_bounds__(kThreads) pool_kernel(const PoolTask first, const PoolTask second, int first_ctas) {
  constexpr int kPass = kThreads / kLanes, kChannels = 8 * kLanes;
  __shared__ float part[2][kPass][kChannels + 1];
  __shared__ float shift[kChannels];
  const bool is_first = static_cast<int>(blockIdx.x) < first_ctas;
  const PoolTask t = is_first ? first : second;
  const int index = is_first ? blockIdx.x : blockIdx.x - first_ctas;
  const int64_t head_index = index / t.blocks;
  const int head = head_index % t.x.heads, batch = head_index / t.x.heads;
  const int rows = t.x.lengths != nullptr ? min(max(t.x.lengths[batch], 0), t.x.rows) : t.x.rows;
  const int begin = index % t.blocks * t.block, end = min(begin + t.block, rows);

  const int c = threadIdx.x % kLanes, r0 = threadIdx.x / kLanes;
  const int valid = valid_channels(t.x.head_dim, c);
  const auto* base = static_cast<const typename Element<T>::type*>(t.x.data) + batch * t.x.stride.batch +
                     head * t.x.stride.head + 8 * c;
  if (const int d = threadIdx.x; d < kChannels) {
    float s = 0.f;
    if (d < t.x.head_dim && t.sums != nullptr) {
      s = mean_channel(t.x, t.sums, MeanChunks(t.x).count, head_index, d);
    } else if (d < t.x.head_dim && t.shift != nullptr) {
      s = t.shift[head_index * t.x.head_dim + d];
    }
    shift[d] = s;
  }
  __syncthreads();

  float sum[8] = {}, direction[8] = {};
#pragma unroll 4
  for (int n = begin; n < end; n += kPass) {
    const int row = n + r0;
    float x[8];
    load8<T>(x, base + row * t.x.stride.row, row < end ? valid : 0, t.x.vector_io);
    float square = 0.f;
#pragma unroll
    for (int i = 0; i < 8; i++) {
      if (row < end) x[i] -= shift[8 * c + i];
      square = fmaf(x[i], x[i], square);
    }
#pragma unroll
    for (int o = kLanes / 2; o > 0; o >>= 1) square += __shfl_xor_sync(kFullWarp, square, o);
    const float inverse = row < end ? 1.f / sqrtf(square) : 0.f;  // a zero row: 0 * inf, and the similarity is NaN
#pragma unroll
    for (int i = 0; i < 8; i++) {
      sum[i] += x[i];
      direction[i] = fmaf(x[i], inverse, direction[i]);
    }
  }
#pragma unroll
  for (int i = 0; i < 8; i++) {
    part[0][r0][8 * c + i] = sum[i];
    part[1][r0][8 * c + i] = direction[i];
  }
  __syncthreads();

  const int which = threadIdx.x / kChannels, d = threadIdx.x % kChannels;
  float total = 0.f;
  if (which < 2) {
    for (int r = 0; r < kPass; r++) total += part[which][r][d];
  }
  if (which == 0 && d < t.pitch) {
    const float count = static_cast<float>(max(end - begin, 1));
    t.means[static_cast<int64_t>(index) * t.pitch + d] = d < t.x.head_dim ? total / count : 0.f;
  }
  __syncthreads();
  if (which == 1) part[1][0][d] = d < t.x.head_dim ? total * total : 0.f;
  __syncthreads();
  if (threadIdx.x >= 32) return;
  float square = 0.f;
#pragma unroll
  for (int i = 0; i < kChannels / 32; i++) square += part[1][0][threadIdx.x + 32 * i];
#pragma unroll
  for (int o = 16; o > 0; o >>= 1) square += __shfl_xor_sync(kFullWarp, square, o);
  const float count = static_cast<float>(end - begin);
  if (threadIdx.x == 0) t.similarity[index] = square / (count * count);
}

template <int kLanes>
cudaError_t launch(const PoolTask& first, const PoolTask& second, cudaStream_t stream) {
  const unsigned grid = static_cast<unsigned>(first.ctas() + second.ctas());
  const int first_ctas = static_cast<int>(first.ctas());
  if (first.x.dtype == DType::kFloat16) {
    return enqueue_kernel(pool_kernel<kLanes, DType::kFloat16>, grid, kThreads, 0, stream, first, second, first_ctas);
  }
  return enqueue_kernel(pool_kernel<kLanes, DType::kBFloat16>, grid, kThreads, 0, stream, first, second, first_ctas);
}

}  // namespace

cudaError_t enqueue_pool(const PoolTask& first, const PoolTask& second, cudaStream_t stream) {
  return first.x.head_dim <= 64 ? launch<8>(first, second, stream) : launch<16>(first, second, stream);
}

}  // namespace attn4j
