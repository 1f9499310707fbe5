// Exact attention on Hopper's warpgroup instructions (FlashAttention-3, arXiv:2407.08608). docs/exact.md explains it.
//
// A persistent CTA has one producer warp, which feeds Q, K and V through the copy engine, and kWarpgroups consumer
// warpgroups with 64 query rows each. A consumer keeps one Q*K^T in flight beside the P*V of the tile before.
#pragma once

#include "attention/exact_wgmma_consumer.cuh"
#include "attention/exact_wgmma_maps.h"
#include "attention/exact_wgmma_producer.cuh"

namespace attn4j {

template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads, 1) exact_wgmma_kernel(const __grid_constant__ ExactParams params) {
  extern __shared__ __align__(1024) unsigned char exact_smem[];
  const ExactShared<Tile> shared(exact_smem);
  if (threadIdx.x == 0) {
    ptx::tma_prefetch_map(params.q_map);
    ptx::tma_prefetch_map(params.k_map);
    ptx::tma_prefetch_map(params.v_map);
    shared.init_barriers();
  }
  __syncthreads();
  if (threadIdx.x < 128) {
    ptx::setmaxnreg_dec<Tile::kProducerRegisters>();
    if (threadIdx.x < 32) ExactProducer<Tile>(params, shared).run();
  } else {
    ptx::setmaxnreg_inc<Tile::kConsumerRegisters>();
    ExactConsumer<Tile>(params, shared).run();
  }
}

template <class Tile>
cudaError_t launch_exact_wgmma(const AttentionArgs& args, cudaStream_t stream) {
  int device = 0, sms = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, device);
  const auto kernel = exact_wgmma_kernel<Tile>;
  if (error == cudaSuccess) {
    error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kSmemBytes);
  }
  if (error != cudaSuccess) return error;

  ExactParams params;
  params.args = args;
  params.plan = plan_work(args, Tile::kRows, sms);
  TensorBox q{args.q, args.q_stride, args.head_dim, args.lq, args.heads_q, args.batch, Tile::kBoxChannels, Tile::kRows};
  TensorBox k{args.k, args.k_stride, args.head_dim, args.lk, args.heads_kv, args.batch, Tile::kBoxChannels, Tile::kKeys};
  TensorBox v = k;
  v.data = args.v, v.stride = args.v_stride;
  if (args.lk == 0) k.data = v.data = args.q, k.rows = v.rows = k.heads = v.heads = k.batch = v.batch = 1;
  error = make_tensor_map(&params.q_map, q, Tile::kType);
  if (error == cudaSuccess) error = make_tensor_map(&params.k_map, k, Tile::kType);
  if (error == cudaSuccess) error = make_tensor_map(&params.v_map, v, Tile::kType);
  if (error != cudaSuccess) return error;
  const int ctas = params.plan.units < sms ? params.plan.units : sms;
  kernel<<<ctas, Tile::kThreads, Tile::kSmemBytes, stream>>>(params);
  return cudaGetLastError();
}

template <int kD, DType T>
struct ExactWgmma {
  using Tile = std::conditional_t<kD == 64, ExactTile<64, T, 3, 128, 4, 2, 3>,
                                  std::conditional_t<kD == 96, ExactTile<96, T, 2, 128, 3, 2, 3>,
                                                     ExactTile<128, T, 2, 128, 2, 2, 3>>>;
  static cudaError_t launch(const AttentionArgs& args, cudaStream_t stream) {
    return launch_exact_wgmma<Tile>(args, stream);
  }
  static KernelEntry entry(const char* name) {
    return {Family::kExactWgmma, kD, T, Tile::kKeys, Tile::kRows, name, &launch};
  }
};

}  // namespace attn4j
