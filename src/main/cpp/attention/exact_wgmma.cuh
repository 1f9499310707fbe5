// Exact attention on Hopper's warpgroup instructions (FlashAttention-3, arXiv:2407.08608). docs/exact.md explains it.
//
// A persistent CTA has one producer warp, which feeds Q, K and V through the copy engine, and two or three consumer
// warpgroups with 64 query rows each. A consumer keeps one Q*K^T in flight beside the P*V of the tile before.
#pragma once

#include "attention/exact_wgmma_consumer.cuh"
#include "attention/exact_wgmma_maps.h"
#include "attention/exact_wgmma_producer.cuh"
#include "attention/launch.cuh"

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
cudaError_t launch_exact_wgmma(const AttentionArgs& args, int sms, cudaStream_t stream) {
  cudaError_t error = allow_shared_memory<exact_wgmma_kernel<Tile>>(Tile::kSmemBytes);
  if (error != cudaSuccess) return error;

  ExactParams params;
  params.args = args;
  // Zero times the -inf of a masked key would be NaN; this scale makes every unmasked score zero just as well.
  params.args.scale_log2 = std::max(args.scale_log2, 1e-30f);
  params.plan = plan_work(args, Tile::kRows, sms);
  const TensorBox q{args.q,       args.q_stride, args.head_dim,      args.lq,
                    args.heads_q, args.batch,    Tile::kBoxChannels, Tile::kRows};
  TensorBox k{args.k,        args.k_stride, args.head_dim,      args.lk,
              args.heads_kv, args.batch,    Tile::kBoxChannels, Tile::kKeys};
  TensorBox v = k;
  v.data = args.v, v.stride = args.v_stride;
  if (args.lk == 0) {  // nothing of it counts, but copies need memory to read
    k.data = args.q, k.rows = k.heads = k.batch = 1;
    v = k;
  }
  error = make_tensor_map(&params.q_map, q, Tile::kType);
  if (error == cudaSuccess) error = make_tensor_map(&params.k_map, k, Tile::kType);
  if (error == cudaSuccess) error = make_tensor_map(&params.v_map, v, Tile::kType);
  if (error != cudaSuccess) return error;
  exact_wgmma_kernel<Tile><<<std::min(params.plan.units, sms), Tile::kThreads, Tile::kSmemBytes, stream>>>(params);
  return cudaGetLastError();
}

// The tile shapes of a head dim. Three warpgroups read K and V less often; two waste less on small grids and ragged
// ends, and have registers for Q; few keys per tile waste less on short sequences. Timings: docs/exact.md.
template <int kD, DType T>
struct ExactTiles;

template <DType T>
struct ExactTiles<64, T> {
  using Narrow = ExactTile<64, T, 2, 128, 4, 2, QuerySource::kRegisters>;
  using Wide = ExactTile<64, T, 3, 96, 5, 2, QuerySource::kRegisters>;
  using Short = ExactTile<64, T, 2, 80, 4, 4, QuerySource::kRegisters>;
  static constexpr TileTiming kNarrow{128, 128, 0.00821f, 1.98f};
  static constexpr TileTiming kWide{192, 96, 0.01134f, 2.55f};
  static constexpr TileTiming kShort{128, 80, 0.00910f, 1.95f};
};

template <DType T>
struct ExactTiles<96, T> {
  using Narrow = ExactTile<96, T, 2, 128, 3, 2, QuerySource::kRegisters>;
  using Wide = ExactTile<96, T, 3, 96, 3, 2, QuerySource::kShared>;
  using Short = ExactTile<96, T, 2, 80, 3, 4, QuerySource::kRegisters>;
  static constexpr TileTiming kNarrow{128, 128, 0.00947f, 1.61f};
  static constexpr TileTiming kWide{192, 96, 0.01348f, 2.03f};
  static constexpr TileTiming kShort{128, 80, 0.01023f, 1.90f};
};

template <DType T>
struct ExactTiles<128, T> {
  using Narrow = ExactTile<128, T, 2, 128, 3, 1, QuerySource::kRegisters, Softmax::kHeld>;
  using Wide = Narrow;  // three warpgroups of 80 keys, all that fits, gain nothing
  using Short = ExactTile<128, T, 2, 80, 3, 3, QuerySource::kRegisters>;
  static constexpr TileTiming kNarrow{128, 128, 0.01128f, 1.58f};
  static constexpr TileTiming kWide = kNarrow;
  static constexpr TileTiming kShort{128, 80, 0.01199f, 1.68f};
};

template <int kD, DType T>
struct ExactWgmma {
  using Tiles = ExactTiles<kD, T>;

  static cudaError_t launch(const AttentionArgs& args, cudaStream_t stream) {
    int device = 0, sms = 0;
    cudaError_t error = cudaGetDevice(&device);
    if (error == cudaSuccess) error = cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, device);
    if (error != cudaSuccess) return error;
    const float narrow = estimate_time(args, Tiles::kNarrow, sms);
    const float wide = estimate_time(args, Tiles::kWide, sms);
    const float short_keys = estimate_time(args, Tiles::kShort, sms);
    if (wide < std::min(narrow, short_keys)) return launch_exact_wgmma<typename Tiles::Wide>(args, sms, stream);
    if (short_keys < narrow) return launch_exact_wgmma<typename Tiles::Short>(args, sms, stream);
    return launch_exact_wgmma<typename Tiles::Narrow>(args, sms, stream);
  }

  static KernelEntry entry(const char* name) {
    return {Family::kExactWgmma, kD, T, Tiles::Narrow::kKeys, Tiles::Narrow::kRows, name, &launch};
  }
};

}  // namespace attn4j
