// Host side of the tiled copies: tensor maps of strided (batch, head, row, channel) tensors. libcuda isn't linked: the
// one driver function needed comes through the runtime.
#pragma once

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "device/tensors.h"

namespace attn4j {

// A tensor in device memory and the box that one copy moves.
struct TensorBox {
  const void* data = nullptr;  // [batch, head, row, channel], 16-bit, 16-byte aligned
  Strides stride;              // multiples of 8 elements
  int64_t channels = 0, rows = 0, heads = 0, batch = 0;
  uint32_t box_channels = 0, box_rows = 0;  // 2 * box_channels is the width of the swizzle: 64 or 128 bytes
};

// Null where the driver has no such function.
inline decltype(&cuTensorMapEncodeTiled) tensor_map_encoder() {
  static const auto encoder = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found;
    const cudaError_t error =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found);
    if (error != cudaSuccess || found != cudaDriverEntryPointSuccess) function = nullptr;
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
  }();
  return encoder;
}

inline cudaError_t make_tensor_map(CUtensorMap* map, const TensorBox& t, DType dtype) {
  const auto encode = tensor_map_encoder();
  if (encode == nullptr) return cudaErrorNotSupported;
  const cuuint64_t sizes[4] = {static_cast<cuuint64_t>(t.channels), static_cast<cuuint64_t>(t.rows),
                               static_cast<cuuint64_t>(t.heads), static_cast<cuuint64_t>(t.batch)};
  // The stride of a dimension of size 1 is free, but must be valid.
  const auto bytes = [](int64_t stride, int64_t size) { return static_cast<cuuint64_t>(size == 1 ? 16 : 2 * stride); };
  const cuuint64_t strides[3] = {bytes(t.stride.row, t.rows), bytes(t.stride.head, t.heads),
                                 bytes(t.stride.batch, t.batch)};
  const cuuint32_t box[4] = {t.box_channels, t.box_rows, 1, 1};
  const cuuint32_t steps[4] = {1, 1, 1, 1};
  const auto make = [&] {
    return encode(map, dtype == DType::kFloat16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 4,
                  const_cast<void*>(t.data), sizes, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
                  t.box_channels == 64 ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_64B,
                  CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  };
  if (make() == CUDA_SUCCESS) return cudaSuccess;
  // A driver function finds no context in a thread that has called nothing of the runtime yet; choosing a device, as
  // the runtime's functions do by themselves, gives it one.
  int device = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) error = cudaSetDevice(device);
  if (error != cudaSuccess) return error;
  return make() == CUDA_SUCCESS ? cudaSuccess : cudaErrorInvalidValue;
}

}  // namespace attn4j
