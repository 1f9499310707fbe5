// Launching kernels without syntax of CUDA's own: the checks run on the emulated GPU too (docs/emulation.md).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstdlib>

// Declares `name`, the dynamic shared memory of the launch.
#ifndef ATTN4J_DYNAMIC_SHARED
#define ATTN4J_DYNAMIC_SHARED(alignment, type, name) \
  extern __shared__ __align__(alignment)             \
  type name[]
#endif

namespace attn4j_bench {

// On the default stream; ends the process if that fails.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 blocks, unsigned threads, size_t shared_bytes,
            const Arguments&... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = blocks, config.blockDim = dim3(threads), config.dynamicSmemBytes = shared_bytes;
  const cudaError_t error = cudaLaunchKernelEx(&config, kernel, arguments...);
  if (error == cudaSuccess) return;
  std::printf("FAILED: a launch: %s\n", cudaGetErrorString(error));
  std::exit(2);
}

}  // namespace attn4j_bench
