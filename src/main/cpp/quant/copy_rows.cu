// Copies between tensors of any strides: the detour of inputs and outputs whose alignment rules out 16-byte accesses.
#include <algorithm>

#include "device/launch.cuh"
#include "quant/quantize.h"

namespace attn4j {
namespace {

constexpr int kThreads = 256;

// Consecutive threads take consecutive channels; `ctas` of them per (batch, head).
__global__ void __launch_bounds__(kThreads) copy_rows_kernel(const RowsView from, const RowsView to, unsigned ctas) {
  const int head = blockIdx.x / ctas % to.heads, batch = blockIdx.x / ctas / to.heads;
  const auto* source = static_cast<const uint16_t*>(from.data) + batch * from.stride.batch + head * from.stride.head;
  auto* target =
      const_cast<uint16_t*>(static_cast<const uint16_t*>(to.data)) + batch * to.stride.batch + head * to.stride.head;
  const int64_t total = static_cast<int64_t>(to.rows) * to.head_dim;
  for (int64_t i = static_cast<int64_t>(blockIdx.x % ctas) * kThreads + threadIdx.x; i < total;
       i += static_cast<int64_t>(ctas) * kThreads) {
    const int64_t row = i / to.head_dim;
    const int d = static_cast<int>(i % to.head_dim);
    target[row * to.stride.row + d] = d < from.head_dim ? source[row * from.stride.row + d] : uint16_t{0};
  }
}

}  // namespace

cudaError_t enqueue_copy_rows(const RowsView& from, const RowsView& to, cudaStream_t stream) {
  const int64_t blocks = (static_cast<int64_t>(to.rows) * to.head_dim + kThreads - 1) / kThreads;
  const int64_t heads = static_cast<int64_t>(to.batch) * to.heads;
  const auto ctas = static_cast<unsigned>(std::min({blocks, int64_t{4096}, INT32_MAX / heads}));
  return enqueue_kernel(copy_rows_kernel, static_cast<unsigned>(heads * ctas), kThreads, 0, stream, from, to, ctas);
}

}  // namespace attn4j
