// Exact attention on Hopper's warpgroup instructions: which tile, and its launch. docs/exact.md.
#pragma once

#include "attention/f16_wgmma/kernel.cuh"
#include "attention/f16_wgmma/maps.h"
#include "host/head_dim.h"
#include "host/preparation.h"

namespace attn4j {

template <class Tile>
cudaError_t launch_exact_wgmma(const AttentionArgs& args, int sms, cudaStream_t stream) {
  ExactParams params;
  params.args = args;
  // Zero times the -inf of a masked key would be NaN; this scale makes every unmasked score zero just as well.
  params.args.scale_log2 = std::max(args.scale_log2, 1e-30f);
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
  cudaError_t error = make_tensor_map(&params.q_map, q, Tile::kType);
  if (error == cudaSuccess) error = make_tensor_map(&params.k_map, k, Tile::kType);
  if (error == cudaSuccess) error = make_tensor_map(&params.v_map, v, Tile::kType);
  return error == cudaSuccess ? launch_tiles<Tile>(&params, sms, stream) : error;
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

// Above 128 channels the accumulator takes so many registers and a tile so much shared memory that there is one choice
// of each kind.
template <DType T>
struct ExactTiles<160, T> {
  using Narrow = ExactTile<160, T, 2, 128, 2, 1, QuerySource::kShared>;
  using Wide = Narrow;
  using Short = ExactTile<160, T, 2, 80, 2, 2, QuerySource::kRegisters>;
  static constexpr TileTiming kNarrow{128, 128, 0.01450f, 1.80f};
  static constexpr TileTiming kWide = kNarrow;
  static constexpr TileTiming kShort{128, 80, 0.01560f, 1.80f};
};

template <DType T>
struct ExactTiles<192, T> {
  using Narrow = ExactTile<192, T, 2, 96, 2, 1, QuerySource::kShared>;
  using Wide = Narrow;
  using Short = Narrow;
  static constexpr TileTiming kNarrow{128, 96, 0.01800f, 2.00f};
  static constexpr TileTiming kWide = kNarrow;
  static constexpr TileTiming kShort = kNarrow;
};

template <DType T>
struct ExactTiles<256, T> {
  using Narrow = ExactTile<256, T, 2, 64, 2, 1, QuerySource::kShared>;
  using Wide = Narrow;
  using Short = Narrow;
  static constexpr TileTiming kNarrow{128, 64, 0.02500f, 2.50f};
  static constexpr TileTiming kWide = kNarrow;
  static constexpr TileTiming kShort = kNarrow;
};

template <int kD, DType T>
struct ExactWgmma {
  using Tiles = ExactTiles<kD, T>;

  static cudaError_t launch(const AttentionArgs& args, cudaStream_t stream) {
    int sms = 0;
    const cudaError_t error = multiprocessor_count(&sms);
    if (error != cudaSuccess) return error;
    const float narrow = estimate_time(args, Tiles::kNarrow, sms);
    const float wide = estimate_time(args, Tiles::kWide, sms);
    const float short_keys = estimate_time(args, Tiles::kShort, sms);
    if (wide < std::min(narrow, short_keys)) return launch_exact_wgmma<typename Tiles::Wide>(args, sms, stream);
    if (short_keys < narrow) return launch_exact_wgmma<typename Tiles::Short>(args, sms, stream);
    return launch_exact_wgmma<typename Tiles::Narrow>(args, sms, stream);
  }

  static KernelEntry entry(const char* name) {
    KernelEntry e = make_entry<kD, T>(name, Tiles::Narrow::kRows, Tiles::Narrow::kKeys, &launch);
    e.function = Function::kExact;
    e.writes_vectors = true;
    e.serves_sageattn = true;
    e.preparation = &kAlignedInputs;
    e.cost = exact_wgmma_cost<kD>();
    e.sparse_from = kNeverSparse;
    return e;
  }
};

}  // namespace attn4j
