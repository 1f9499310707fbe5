// The Hopper path's quantisation: turns Q, K and V into the images that fp8_wgmma/fp8.cuh reads, head by head, ahead of
// attention and beside it (quant/fp8_schedule.h).
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "attention/arguments.h"

namespace attn4j {

struct KernelEntry;  // host/recipe.h

// Bytes of each workspace slice of one call, all multiples of 256. They don't depend on the GPU.
struct Fp8Workspace {
  int64_t k_image, k_scale, k_mean, v_image, v_scale, q_image, q_scale, statistics, work_counter, images_done;
  int64_t partials, parts_done;  // 0 where attention divides no item by keys, whatever the GPU
};

// `kernel` gives head_dim and tiles; of `args` only the shape is read.
Fp8Workspace fp8_workspace(const KernelEntry& kernel, const AttentionArgs& args) noexcept;

// What args.images_wanted has to be.
int32_t fp8_images_per_head(const KernelEntry& kernel, const AttentionArgs& args) noexcept;

// What args.v_error_unit has to be: small, and so large that the sums of the errors of `keys` values stay below 2^22.
float fp8_error_unit(int32_t keys) noexcept;

// Sets args->split and late_ctas: for a GPU of so many SMs, or for the current device.
void fp8_divide_for(const KernelEntry& kernel, int32_t multiprocessors, AttentionArgs* args) noexcept;
cudaError_t fp8_divide(const KernelEntry& kernel, AttentionArgs* args) noexcept;

// Where the means and self-similarities of one tensor's blocks of rows go (sparse/predict.h reads them).
struct PooledBlocks {
  float* means = nullptr;         // [b, h][blocks][pitch]; channels beyond head_dim become 0
  float* similarity = nullptr;    // [b, h][blocks]
  int32_t block = 0, blocks = 0;  // rows per block, blocks per head
  int32_t pitch = 0;
};

// What SpargeAttn has the pre-pass do besides.
struct Fp8Extras {
  PooledBlocks q, k;           // null means: nothing is pooled. Blocks of 128 queries and 64 keys
  int32_t* cleared = nullptr;  // [cleared_count], set to zero, or null
  int32_t cleared_count = 0;
};

// Enqueues two kernels; the second lets the next kernel on the stream start before its own end if that one is launched
// programmatically. `args` is complete: every slice of Fp8Workspace but `statistics` is named in it, lk_padded and
// lq_padded are multiples of the kernel's tiles, and vector_io holds. k_mean null means no smoothing of K. `statistics`
// is scratch. Blocks of K are pooled after the shift, which is the mean of at most
// 512 keys, one of each run of keys of the same length.
cudaError_t enqueue_sm90_prepass(const KernelEntry& kernel, const AttentionArgs& args, float* statistics,
                                 const Fp8Extras& extras, cudaStream_t stream) noexcept;

}  // namespace attn4j
