// Where the kernels on mma.sync have V from, and what undoes that in the output.
#pragma once

#include "arch/arch.h"
#include "attention/mma/tile.cuh"
#include "device/ptx/ordering.cuh"
#include "device/ptx/shared_access.cuh"
#include "quant/prepared.h"
#include "quant/values.h"

namespace attn4j {

// Rows of V where the caller has them, in 16 bits.
template <class Tile>
class RowValues {
 public:
  __device__ __forceinline__ RowValues(const AttentionArgs& args, const WorkTile& w)
      : args_(args),
        copy_(static_cast<const uint16_t*>(args.v) + w.batch * args.v_stride.batch + w.kv_head * args.v_stride.head +
                  w.first_tile * Tile::kStageKeys * args.v_stride.row,
              args.v_stride.row, threadIdx.x) {}

  // Starts the copy of a tile; a whole one has all rows and channels. `shared` lies in shared memory.
  __device__ __forceinline__ void start_whole(uint32_t smem, int tile, const WorkTile&) const {
    copy_.start_whole(smem, args_.v_stride.row, tile * Tile::kStageKeys, threadIdx.x);
  }
  __device__ __forceinline__ void start(uint32_t smem, int tile, const WorkTile& shared) const {
    copy_.start(smem, args_.v_stride.row, tile * Tile::kStageKeys, ptx::again(shared.kv_length), args_.head_dim,
                threadIdx.x);
  }

 private:
  const AttentionArgs& args_;
  PanelCopy<typename Tile::VTile, Tile::kThreads> copy_;
};

// Tiles that the pre-pass wrote in the order of shared memory (quant/values.h).
template <class Tile>
class ImageValues {
 public:
  __device__ __forceinline__ ImageValues(const AttentionArgs& args, const WorkTile& w) : args_(args) {
    if constexpr (!arch::kFewRegisters) {
      image_ = args.v_image + static_cast<int64_t>(w.image_tile) * Tile::VTile::kBytes + 16 * threadIdx.x;
    }
  }

  __device__ __forceinline__ void start_whole(uint32_t smem, int tile, const WorkTile& shared) const {
    const uint8_t* image = image_;
    int thread = threadIdx.x;
    if constexpr (arch::kFewRegisters) {
      tile += ptx::again(shared.image_tile), thread = ptx::thread_index();
      image = args_.v_image + 16 * thread;
    }
    load_image_async<Tile::VTile::kBytes, Tile::kThreads>(smem + 16 * thread,
                                                          image + static_cast<int64_t>(tile) * Tile::VTile::kBytes);
  }
  __device__ __forceinline__ void start(uint32_t smem, int tile, const WorkTile& shared) const {
    start_whole(smem, tile, shared);
  }

 private:
  const AttentionArgs& args_;
  const uint8_t* image_ = nullptr;  // this thread's first piece of the CTA's first tile, if registers allow
};

// What V's channels lost on the way into an image, for one lane's two channels of each 8: v = code * scale + mean, and
// what rounding took from a channel, averaged over the keys, goes back into rows that see a key: the weights of a row
// sum to 1.
template <int kD>
class ValueScales {
 public:
  // Without keys there is no image: nothing is read.
  __device__ __forceinline__ ValueScales(const AttentionArgs& args, int batch, int kv_head)
      : scale_(args.v_scale + (static_cast<int64_t>(batch) * args.heads_kv + kv_head) * v_scale_size(kD) +
               2 * (threadIdx.x % 4)),
        exists_(args.lk > 0) {
    const int keys = args.kv_lengths != nullptr ? min(args.kv_lengths[batch], args.lk) : args.lk;
    error_unit_ = keys > 0 ? __fdividef(args.v_error_unit, static_cast<float>(keys)) : 0.f;
  }

  struct Channels {
    float2 scale, error, mean;  // the error in units of the scale
    // Of a row: x is its share of the codes, `sees` 1 if it sees a key, else 0.
    __device__ __forceinline__ float2 operator()(float2 x, float sees) const {
      return make_float2(fmaf(fmaf(error.x, sees, x.x), scale.x, mean.x * sees),
                         fmaf(fmaf(error.y, sees, x.y), scale.y, mean.y * sees));
    }
  };

  // Channels 8 i + 2 (lane % 4) and the next one.
  __device__ __forceinline__ Channels channels(int i) const {
    if (!exists_) return {};
    const auto two = [&](int part) { return __ldg(reinterpret_cast<const float2*>(scale_ + part * kD + 8 * i)); };
    const float2 error = two(1);
    return {two(0), make_float2((error.x - kNoError) * error_unit_, (error.y - kNoError) * error_unit_), two(2)};
  }

 private:
  const float* scale_;
  float error_unit_;
  bool exists_;
};

}  // namespace attn4j
