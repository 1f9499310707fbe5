// Copies tensors whose alignment or head_dim rules out 16-byte copies into a packed form that has both.
#include <algorithm>

#include "quant/quantize.h"

namespace attn4j {
namespace {

constexpr int kThreads = 256;

// One thread per packed element; one grid row per (batch, head).
__global__ void __launch_bounds__(kThreads) repack_kernel(const RowsView x, uint16_t* packed, int packed_d) {
  const int head = blockIdx.y % x.heads, batch = blockIdx.y / x.heads;
  const auto* base = static_cast<const uint16_t*>(x.data) + batch * x.stride.batch + head * x.stride.head;
  uint16_t* target = packed + static_cast<int64_t>(blockIdx.y) * x.rows * packed_d;
  const int64_t total = static_cast<int64_t>(x.rows) * packed_d;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < total;
       i += static_cast<int64_t>(gridDim.x) * kThreads) {
    const int64_t row = i / packed_d;
    const int d = static_cast<int>(i % packed_d);
    target[i] = d < x.head_dim ? base[row * x.stride.row + d] : uint16_t{0};
  }
}

}  // namespace

cudaError_t enqueue_repack(const RowsView& x, void* packed, cudaStream_t stream) {
  const int packed_d = (x.head_dim + 7) / 8 * 8;
  const int64_t blocks = (static_cast<int64_t>(x.rows) * packed_d + kThreads - 1) / kThreads;
  const dim3 grid(static_cast<unsigned>(std::min<int64_t>(blocks, 4096)), x.batch * x.heads);
  repack_kernel<<<grid, kThreads, 0, stream>>>(x, static_cast<uint16_t*>(packed), packed_d);
  return cudaGetLastError();
}

}  // namespace attn4j
