// INT8 Q K^T, FP8 P V attention on Hopper's warpgroup instructions. docs/hopper.md explains it with a figure.
//
// One persistent CTA per SM, with one or two streams of work. A stream is a producer thread that copies ready-made
// shared-memory images, and two consumer warpgroups of 64 query rows each. The images are written by
// quant/fp8_prepass.cuh.
#pragma once

#include <algorithm>
#include <cmath>

#include "attention/fp8_wgmma/consume.cuh"
#include "attention/fp8_wgmma/producer.cuh"
#include "attention/fp8_wgmma/sections.h"
#include "attention/fp8_wgmma/slab.cuh"
#include "attention/launch.cuh"
#include "device/launch.cuh"
#include "host/head_dim.h"
#include "host/preparation.h"

namespace attn4j {

template <class P>
__device__ __forceinline__ void init_barriers(WgmmaBarriers<P> barrier) {
  constexpr int kDone = 4 * P::kConsumers * ptx::kArrivingLanes;  // arrivals of consumer warps
  for (int s = 0; s < P::kStages; s++) {
    ptx::mbarrier_init(barrier.k_full(s), 1);
    ptx::mbarrier_init(barrier.k_empty(s), kDone);
    if constexpr (!P::kWholeStages) {
      ptx::mbarrier_init(barrier.v_full(s), 1);
      ptx::mbarrier_init(barrier.v_empty(s), kDone);
    }
  }
  for (int s = 0; s < 2; s++) {
    ptx::mbarrier_init(barrier.q_full(s), 1);
    ptx::mbarrier_init(barrier.q_empty(s), kDone);
  }
  ptx::fence_mbarrier_init();
}

template <class P, DType T>
__global__ void __launch_bounds__(P::kThreads, 1) wgmma_attention(const __grid_constant__ WgmmaParams p) {
  ATTN4J_DYNAMIC_SHARED(128, unsigned char, shared);
  // The shuffle tells the compiler that the warpgroup's number is the same in all lanes.
  const int warpgroup = __shfl_sync(kFullWarp, threadIdx.x / 128, 0);
  // Each stream of work has a part of the shared memory, a warp of the first warpgroup, and kConsumers of the others.
  const bool produces = threadIdx.x < 32 * P::kStreams && threadIdx.x % 32 == 0;
  if (produces)
    init_barriers(
        WgmmaBarriers<P>{ptx::shared_address(shared) + threadIdx.x / 32 * P::kStreamBytes + P::Map::kBarrierAt});
  __syncthreads();
  if (warpgroup == 0) {
    ptx::setmaxnreg_dec<P::kProducerRegs>();
    if (produces) wgmma_produce<P>(p, shared + threadIdx.x / 32 * P::kStreamBytes);
  } else {
    ptx::setmaxnreg_inc<P::kConsumerRegs>();
    const int stream = (warpgroup - 1) / P::kConsumers, group = warpgroup - 1 - stream * P::kConsumers;
    if constexpr (P::kSlab) {
      slab_consume<P, T>(p, shared + stream * P::kStreamBytes, group);
    } else {
      wgmma_consume<P, T>(p, shared, group);
    }
  }
}

// A row's maximum lies at least 2 bits above its highest reference. So all keys together, if all of them are that far
// below the reference, have less than 2^-10 of the row's weight.
inline float wgmma_negligible(int32_t keys) { return -(std::log2(std::max(1.f, static_cast<float>(keys))) + 8.f); }

template <class P, DType T>
cudaError_t wgmma_launch(const AttentionArgs& a, cudaStream_t stream) {
  int multiprocessors = 0;
  cudaError_t error = multiprocessor_count(&multiprocessors);
  if (error == cudaSuccess) error = allow_shared_memory<wgmma_attention<P, T>>(P::kSmemBytes);
  if (error != cudaSuccess) return error;
  WgmmaParams p;
  p.a = a;
  p.query_blocks = (a.lq + P::kRows - 1) / P::kRows;
  p.section_heads = wgmma_section_heads(a, P::kHeadDim);
  p.negligible = wgmma_negligible(a.lk);

  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(std::min(a.split.units(), multiprocessors));
  config.blockDim = dim3(P::kThreads);
  config.dynamicSmemBytes = P::kSmemBytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, wgmma_attention<P, T>, p);
}

template <int kD>
struct WgmmaDensePolicy : WgmmaBestPolicy<kD> {
  using Tiles = WgmmaAllTiles<WgmmaDensePolicy>;
  // At head_dim 96 ptxas leaves half of the early exponentials between the multiplies, which is faster
  // (docs/lab/hopper.md, sixth round).
  static constexpr bool kHoldExponentials = kD > 96;
  static constexpr int kLatePacksAtOnce = 2;
};

// Reads the workspace that enqueue_sm90_prepass (quant/fp8_prepass.h) writes, on the same stream. o must allow 16-byte
// stores: head_dim and strides are multiples of 8, the base is aligned.
template <int kD, DType T>
struct WgmmaInt8Fp8 {
  static_assert(kD == 64 || kD == 96 || kD == 128,
                "fp8_wgmma/policy.cuh has no sizes for this head_dim: choose them, and measure (docs/hopper.md)");
  using Policy = WgmmaDensePolicy<kD>;
  static cudaError_t launch(const AttentionArgs& args, cudaStream_t stream) {
    return wgmma_launch<Policy, T>(args, stream);
  }
  static KernelEntry entry(const char* name) {
    KernelEntry e = make_entry<kD, T>(name, Policy::kRows, Policy::kKeys, &launch);
    e.streams = Policy::kStreams;
    e.qk = Precision::kInt8, e.pv = Precision::kFp8;
    e.function = Function::kInt8Fp8Sm90;
    e.accumulator = PvAccumDType::kFp32Fp32;
    e.per_thread_only = true;
    e.serves_sageattn = true;
    e.hides_keys = true;
    e.preparation = &kFp8Images;
    e.cost = int8_fp8_wgmma_cost<kD>();
    e.sparse_from = 8192;
    return e;
  }
};

}  // namespace attn4j
