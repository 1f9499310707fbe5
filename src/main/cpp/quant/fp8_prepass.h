// The Hopper path's quantisation: two kernels that turn Q, K and V into the images that attend_wgmma.cuh reads.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "host/kernels.h"

namespace attn4j {

// Bytes of each workspace slice of one call, all multiples of 256.
struct Fp8Workspace {
  int64_t k_image, k_scale, k_mean, v_image, v_scale, q_image, q_scale, statistics, work_counter;
};

// `kernel` gives head_dim and tiles; of `args` only the shape is read.
Fp8Workspace fp8_workspace(const KernelEntry& kernel, const AttentionArgs& args) noexcept;

// Enqueues the two kernels. `args` is complete: every slice of Fp8Workspace but `statistics` is named in it, lk_padded
// and lq_padded are multiples of the kernel's tiles, and vector_io holds. k_mean null means no smoothing of K.
// `statistics` is scratch between the two kernels.
cudaError_t enqueue_sm90_prepass(const KernelEntry& kernel, const AttentionArgs& args, float* statistics,
                                 cudaStream_t stream) noexcept;

}  // namespace attn4j
