// The accumulation of partial attention results, as a function that the host calls.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "device/tensors.h"

namespace attn4j {

// One call of merge_attn_state, valid and with the layout resolved. Channels are contiguous.
struct MergeTask {
  const void* part = nullptr;       // [b, h, l, d], 16-bit
  const float* part_lse = nullptr;  // [b][h][l]
  float* sum = nullptr;             // [b, h, l, d]; null: there is none, as part is all
  float* sum_lse = nullptr;         // [b, h, l], rows contiguous
  void* o = nullptr;                // [b, h, l, d], 16-bit; null: the sum is written instead
  float* lse = nullptr;             // [b][h][l] or null, with o
  Strides part_stride, sum_stride, o_stride;
  int64_t sum_lse_batch = 0, sum_lse_head = 0;  // strides of sum_lse
  int32_t batch = 0, heads = 0, rows = 0, head_dim = 0;
  DType dtype = DType::kFloat16;
  bool is_first = false;  // sum isn't read
  bool vector_io = true;  // 4 channels are one access everywhere: 8 bytes of 16-bit types, 16 bytes of fp32
};

// Rows of a head that a thread takes.
constexpr int32_t kMergeRows = 2;

cudaError_t enqueue_merge(const MergeTask& task, cudaStream_t stream);

}  // namespace attn4j
