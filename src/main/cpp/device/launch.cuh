// Enqueueing kernels, and the memory that a launch gives a CTA: without syntax of CUDA's own, so that a host compiler
// reads it too (docs/emulation.md).
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>

// Declares `name`, an array of `type` without a bound: the dynamic shared memory of the launch, aligned to `alignment`
// bytes.
#ifndef ATTN4J_DYNAMIC_SHARED
#define ATTN4J_DYNAMIC_SHARED(alignment, type, name) \
  extern __shared__ __align__(alignment)             \
  type name[]
#endif

namespace attn4j {

// Enqueues a kernel and returns the launch's own error. kDependent, from 9.0 on: it may start while the kernel before
// it ends, and waits for it itself (ptx::griddepcontrol_wait).
template <bool kDependent = false, class... Parameters, class... Arguments>
cudaError_t enqueue_kernel(void (*kernel)(Parameters...), dim3 ctas, unsigned threads, size_t shared_bytes,
                           cudaStream_t stream, const Arguments&... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = ctas, config.blockDim = dim3(threads);
  config.dynamicSmemBytes = shared_bytes, config.stream = stream;
  cudaLaunchAttribute attribute = {};
  if (kDependent) {
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    config.attrs = &attribute, config.numAttrs = 1;
  }
  const cudaError_t error = cudaLaunchKernelEx(&config, kernel, arguments...);
  if (error != cudaSuccess) cudaGetLastError();  // whoever asks next asks about another call
  return error;
}

}  // namespace attn4j
