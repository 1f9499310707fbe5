// V as the kernels on mma.sync want it where they can't take it as it is: as an image of tiles, in the order of shared
// memory, each channel scaled. Two kernels write it: statistics of chunks of keys, then the image.
//
// e4m3 (mma/fp8.cuh), transposed: a tile of 64 keys is 2 units of 32, each [D / 8 groups of channels][2 halves of 16
// keys][8 channels][16 key positions]. Position 4q + j of a half holds key 8 * (j >> 1) + 2q + (j & 1): in this order
// the score accumulators of a quad are the A operand of P V without a shuffle.
//
// fp16 (mma/int8_acc16.cuh with bf16 inputs): tiles of 64 keys in panels (device/tile.cuh), times a power of two per
// channel, after which none reaches 2: bf16 values beyond 65504 stay finite, and numbers stay what they are.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "quant/quantize.h"

namespace attn4j {

// Bounds on |V| in an image of fp16.
constexpr float kF16ValuesEnd = 2.f;

struct ValueImage {
  uint8_t* image = nullptr;     // [b, hkv][rows_padded * D], e4m3, or as many 16-bit numbers
  float* scales = nullptr;      // [b, hkv][v_scale_size(D)], as PreparedCall::v_scale
  float* statistics = nullptr;  // [b, hkv][value_statistics_size]
  int32_t rows_padded = 0, compiled_d = 0;
  bool fp8 = false;
  float largest = 448.f;   // of fp8: what a channel's largest value becomes
  float error_unit = 1.f;  // of fp8: PreparedCall::v_error_unit
};

// Floats per kv head of `statistics`, and bytes of the image.
int64_t value_statistics_size(int32_t compiled_d);
int64_t value_image_bytes(int64_t rows_padded, int32_t compiled_d, bool fp8);
// Of sums of rounding errors over so many keys, whose values are at most `largest`.
float value_error_unit(int32_t keys, float largest);

// One kernel each, in this order; v's lengths count.
cudaError_t enqueue_value_statistics(const RowsView& v, const ValueImage& out, cudaStream_t stream);
cudaError_t enqueue_value_image(const RowsView& v, const ValueImage& out, cudaStream_t stream);

}  // namespace attn4j
