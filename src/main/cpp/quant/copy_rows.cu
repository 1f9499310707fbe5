// Copies between tensors of any strides: the detour of inputs and outputs whose alignment rules out 16-byte accesses.
#include <algorithm>

#include "device/launch.cuh"
#include "device/numeric.cuh"
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

// Zeros behind the last row, as far as a tile of an attention kernel reaches: other garbage there could be NaN, which
// costs those kernels time (attention/nonfinite.cuh).
constexpr int kRowsBehind = 256;

// Rows in the order of a list, by pieces of 8 channels.
__global__ void __launch_bounds__(kThreads) gather_rows_kernel(const RowsView from, const RowsView to, unsigned ctas) {
  const int head = blockIdx.x / ctas % to.heads, batch = blockIdx.x / ctas / to.heads;
  const auto* source = static_cast<const uint16_t*>(from.data) + batch * from.stride.batch + head * from.stride.head;
  auto* target =
      const_cast<uint16_t*>(static_cast<const uint16_t*>(to.data)) + batch * to.stride.batch + head * to.stride.head;
  const int rows = min(max(from.lengths[batch], 0), from.rows), pieces = to.head_dim / 8;
  const int64_t total = static_cast<int64_t>(min(rows + kRowsBehind, to.rows)) * pieces;
#pragma unroll 4
  for (int64_t i = static_cast<int64_t>(blockIdx.x % ctas) * kThreads + threadIdx.x; i < total;
       i += static_cast<int64_t>(ctas) * kThreads) {
    const int row = static_cast<int>(i / pieces), c = static_cast<int>(i % pieces);
    const int place = row < rows ? place_of_row(from, batch, row) : 0;
    const int valid = row < rows ? min(max(from.head_dim - 8 * c, 0), 8) : 0;
    const uint4 x = load8_words(source + place * from.stride.row + 8 * c, valid, from.vector_io);
    *reinterpret_cast<uint4*>(target + row * to.stride.row + 8 * c) = x;
  }
}

}  // namespace

cudaError_t enqueue_copy_rows(const RowsView& from, const RowsView& to, cudaStream_t stream) {
  const bool gathers = from.places != nullptr;
  const int64_t items = static_cast<int64_t>(to.rows) * to.head_dim / (gathers ? 8 : 1);
  const int64_t blocks = (items + kThreads - 1) / kThreads, heads = static_cast<int64_t>(to.batch) * to.heads;
  const auto ctas = static_cast<unsigned>(std::min({blocks, int64_t{4096}, INT32_MAX / heads}));
  return enqueue_kernel(gathers ? gather_rows_kernel : copy_rows_kernel, static_cast<unsigned>(heads * ctas), kThreads,
                        0, stream, from, to, ctas);
}

}  // namespace attn4j
