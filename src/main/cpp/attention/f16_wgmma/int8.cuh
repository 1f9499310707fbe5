// SageAttention with INT8 scores and 16-bit P*V on Hopper's warpgroup instructions: the exact kernel (exact.cuh)
// with scores from INT8 images. docs/exact.md.
#pragma once

#include "attention/f16_wgmma/int8_scores.cuh"
#include "attention/f16_wgmma/kernel.cuh"
#include "attention/f16_wgmma/maps.h"
#include "host/head_dim.h"
#include "host/preparation.h"

namespace attn4j {

template <int kD, DType T>
struct WgmmaInt8F16 {
  static_assert(kD == 64 || kD == 96 || kD == 128, "choose a tile for this head_dim, and measure it (docs/exact.md)");
  // Measured against two and three warpgroups of 64 to 192 keys: docs/exact.md.
  using Tile =
      std::conditional_t<kD == 64, Int8Tile<64, T, 2, 192, 4, 2>,
                         std::conditional_t<kD == 96, Int8Tile<96, T, 3, 96, 4, 2>, Int8Tile<128, T, 2, 128, 4, 2>>>;

  static cudaError_t launch(const AttentionArgs& args, cudaStream_t stream) {
    int sms = 0;
    cudaError_t error = multiprocessor_count(&sms);
    ExactParams params = {};
    params.args = args;
    TensorBox v{args.v,        args.v_stride, args.head_dim,      args.lk,
                args.heads_kv, args.batch,    Tile::kBoxChannels, Tile::kKeys};
    if (args.lk == 0) v.data = args.o, v.rows = v.heads = v.batch = 1;  // nothing of it counts: any memory will do
    if (error == cudaSuccess) error = make_tensor_map(&params.v_map, v, T);
    return error == cudaSuccess ? launch_tiles<Tile>(&params, sms, stream) : error;
  }

  static KernelEntry entry(const char* name) {
    KernelEntry e = make_entry<kD, T>(name, Tile::kRows, Tile::kKeys, &launch);
    e.qk = Precision::kInt8;
    e.function = Function::kInt8F16;
    e.accumulator = PvAccumDType::kFp32;
    e.serves_sageattn = true;
    e.preparation = &kInt8Pair;
    e.cost = int8_f16_wgmma_cost<kD>();
    e.sparse_from = 8192;
    return e;
  }
};

}  // namespace attn4j
