// What launching a kernel needs on the host.
#pragma once

#include <cuda_runtime_api.h>

#include <atomic>
#include <cstdint>

namespace attn4j {

// Lets a kernel use more than 48 KB of dynamic shared memory, once per device: the CUDA call costs host time in every
// launch otherwise. Devices from 64 on are told each time.
template <auto kKernel>
cudaError_t allow_shared_memory(int bytes) {
  static std::atomic<uint64_t> told{0};  // a bit per device
  int device = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error != cudaSuccess) return error;
  const uint64_t bit = device < 64 ? uint64_t{1} << device : 0;
  if ((told.load(std::memory_order_relaxed) & bit) != 0) return cudaSuccess;
  error = cudaFuncSetAttribute(kKernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (error == cudaSuccess) told.fetch_or(bit, std::memory_order_relaxed);
  return error;
}

// SMs of a device, asked once: the CUDA call costs host time.
inline cudaError_t multiprocessor_count(int device, int* count) {
  static std::atomic<int> known[64];
  const bool kept = device >= 0 && device < 64;
  *count = kept ? known[device].load(std::memory_order_relaxed) : 0;
  if (*count > 0) return cudaSuccess;
  const cudaError_t error = cudaDeviceGetAttribute(count, cudaDevAttrMultiProcessorCount, device);
  if (error == cudaSuccess && kept) known[device].store(*count, std::memory_order_relaxed);
  return error;
}

// Of the current device.
inline cudaError_t multiprocessor_count(int* count) {
  int device = 0;
  const cudaError_t error = cudaGetDevice(&device);
  return error == cudaSuccess ? multiprocessor_count(device, count) : error;
}

}  // namespace attn4j
