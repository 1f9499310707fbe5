// The Hopper kernel with 16-bit V and its launch, for any tile: exact.cuh and int8.cuh choose tiles.
//
// A persistent CTA has one producer warp, which feeds Q, K and V through the copy engine, and two or three consumer
// warpgroups with 64 query rows each. A consumer keeps one Q*K^T in flight beside the P*V of the tile before
// (FlashAttention-3, arXiv:2407.08608). docs/exact.md explains it.
#pragma once

#include "attention/f16_wgmma/consumer.cuh"
#include "attention/f16_wgmma/producer.cuh"
#include "attention/launch.cuh"
#include "device/launch.cuh"

namespace attn4j {

template <class Tile, Outputs kOutputsAre>
__global__ void __launch_bounds__(Tile::kThreads, 1) exact_wgmma_kernel(const __grid_constant__ ExactParams params) {
  ATTN4J_DYNAMIC_SHARED(1024, unsigned char, exact_smem);
  const TileShared<Tile> shared(exact_smem);
  if (threadIdx.x == 0) {
    Tile::Source::prefetch_maps(params);
    ptx::tma_prefetch_map(params.v_map);
    shared.init_barriers();
  }
  __syncthreads();
  if (threadIdx.x < 128) {
    ptx::setmaxnreg_dec<Tile::kProducerRegisters>();
    if (threadIdx.x < 32) TileProducer<Tile>(params, shared).run();
  } else {
    ptx::setmaxnreg_inc<Tile::kConsumerRegisters>();
    TileConsumer<Tile, kOutputsAre>(params, shared).run();
  }
}

template <class Tile, Outputs kOutputsAre>
cudaError_t launch_kernel(const ExactParams& params, int sms, cudaStream_t stream) {
  constexpr int kBytes = TileShared<Tile>::kBytes;
  const cudaError_t error = allow_shared_memory<exact_wgmma_kernel<Tile, kOutputsAre>>(kBytes);
  if (error != cudaSuccess) return error;
  const int ctas = std::min(params.plan.units, sms);
  return enqueue_kernel(exact_wgmma_kernel<Tile, kOutputsAre>, ctas, Tile::kThreads, kBytes, stream, params);
}

// `params` has its arguments and tensor maps. Keys that share a scale share what spoils it. A value of V that some rows
// of a tile see reaches all of them, behind a causal mask alone: the producer clears what lies behind kv_length.
template <class Tile>
cudaError_t launch_tiles(ExactParams* params, int sms, cudaStream_t stream) {
  params->plan = plan_work(params->args, Tile::kRows, sms);
  if (Tile::kSharesScales || params->args.causal_offset != kNotCausal) {
    return launch_kernel<Tile, Outputs::kLookedAt>(*params, sms, stream);
  }
  if constexpr (!Tile::kSharesScales) return launch_kernel<Tile, Outputs::kTaken>(*params, sms, stream);
  return cudaErrorInvalidValue;
}

}  // namespace attn4j
