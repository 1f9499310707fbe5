// The mean of K over the sequence, or over samples of it (K smoothing: SageAttention, arXiv:2410.02367, section 3.1),
// in parts that chunks of keys add. What isn't finite counts as 0: any shift serves, and one bad row, which a mask may
// hide, must not reach all others.
#include "device/launch.cuh"
#include "quant/int8.cuh"
#include "quant/quantize.h"
#include "quant/samples.cuh"

namespace attn4j {
namespace {

constexpr int kThreads = 256;

// One CTA per head and chunk. kLanes lanes hold a row.
template <int kLanes, DType T>
__global__ void __launch_bounds__(kThreads) mean_sums_kernel(const RowsView k, float* sums, int chunk_rows) {
  constexpr int kPass = kThreads / kLanes;
  __shared__ float part[kPass][8 * kLanes + 1];
  const int c = threadIdx.x % kLanes, r0 = threadIdx.x / kLanes;
  const int head = blockIdx.x % k.heads, batch = blockIdx.x / k.heads;
  const int valid = valid_channels(k.head_dim, c);
  const int rows = k.lengths != nullptr ? min(max(k.lengths[batch], 0), k.rows) : k.rows;
  const SampledKeys samples(rows, k.samples_mean ? kMeanKeys : 0);
  const int first = blockIdx.y * chunk_rows, last = min(first + chunk_rows, samples.count);
  const auto* base =
      static_cast<const typename Element<T>::type*>(k.data) + batch * k.stride.batch + head * k.stride.head + 8 * c;
  float total[8] = {};
#pragma unroll 8
  for (int r = first + r0; r < last; r += kPass) {
    float x[8];
    load8<T>(x, base + place_of_row(k, batch, samples.key(r)) * k.stride.row, valid, k.vector_io);
#pragma unroll
    for (int i = 0; i < 8; i++) total[i] += fabsf(x[i]) < kInfinity ? x[i] : 0.f;
  }
#pragma unroll
  for (int i = 0; i < 8; i++) part[r0][8 * c + i] = total[i];
  __syncthreads();
  const int d = threadIdx.x;
  if (d >= k.head_dim) return;
  float sum = 0.f;
  for (int i = 0; i < kPass; i++) sum += part[i][d];
  sums[(static_cast<int64_t>(blockIdx.x) * gridDim.y + blockIdx.y) * k.head_dim + d] =
      samples.count > 0 ? sum / static_cast<float>(samples.count) : 0.f;
}

__global__ void __launch_bounds__(128)
    mean_of_sums_kernel(const RowsView k, const float* sums, float* mean, int chunks) {
  if (static_cast<int>(threadIdx.x) >= k.head_dim) return;
  mean[static_cast<int64_t>(blockIdx.x) * k.head_dim + threadIdx.x] =
      mean_channel(k, sums, chunks, blockIdx.x, threadIdx.x);
}

template <int kLanes>
cudaError_t launch_sums(const RowsView& k, float* sums, cudaStream_t stream) {
  const MeanChunks chunks(k);
  const dim3 grid(k.batch * k.heads, chunks.count);
  if (k.dtype == DType::kFloat16) {
    return enqueue_kernel(mean_sums_kernel<kLanes, DType::kFloat16>, grid, kThreads, 0, stream, k, sums, chunks.rows);
  }
  return enqueue_kernel(mean_sums_kernel<kLanes, DType::kBFloat16>, grid, kThreads, 0, stream, k, sums, chunks.rows);
}

}  // namespace

cudaError_t enqueue_mean_sums(const RowsView& k, float* sums, cudaStream_t stream) {
  return k.head_dim <= 64 ? launch_sums<8>(k, sums, stream) : launch_sums<16>(k, sums, stream);
}

cudaError_t enqueue_mean_of_sums(const RowsView& k, const float* sums, float* mean, cudaStream_t stream) {
  return enqueue_kernel(mean_of_sums_kernel, k.batch * k.heads, 128, 0, stream, k, sums, mean, MeanChunks(k).count);
}

}  // namespace attn4j
