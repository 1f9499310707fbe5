// P V with an accumulator of its own for each step, which is then added to O in fp32: fp16 accumulators, whose sums
// must stay short, and FP8, whose accumulator keeps few bits (SageAttention2, arXiv:2411.10958, section 3.3;
// SageAttention2++, arXiv:2505.21136). Channels come first and keys last, so that the accumulator of 16 channels is all
// that there is of it.
#pragma once

#include "attention/mma/softmax.cuh"
#include "attention/mma/tile.cuh"
#include "device/ptx/ldmatrix.cuh"

namespace attn4j {

// A tile of e4m3 values: units of 32 keys, core matrices of 8 channels x 16 keys (quant/values.h).
template <int kRows, int kD>
struct ByteTile {
  static constexpr int kTileRows = kRows, kChannels = kD, kBytes = kRows * kD;
};

// The address that a lane gives ldmatrix in a ByteTile.
template <class Tile>
class ByteLane {
 public:
  __device__ __forceinline__ explicit ByteLane(uint32_t smem) : at_(smem + threadIdx.x % 32 * 16) {}
  // The same in a tile `bytes` away, `rows` (a multiple of 32) below.
  __device__ __forceinline__ ByteLane moved(uint32_t bytes, int rows) const {
    ByteLane lane = *this;
    lane.at_ += bytes + rows * Tile::kChannels;
    return lane;
  }
  // `rows` (a multiple of 32) below, channels from 8 * pieces on (a multiple of 2).
  __device__ __forceinline__ uint32_t at(int rows, int pieces) const {
    return at_ + rows * Tile::kChannels + pieces * 256;
  }

 private:
  uint32_t at_;
};

// What multiplies a step: kKeys keys an instruction, into Accumulators of 16 x 8 values.
struct F16Multiply {
  static constexpr int kKeys = 16;
  using Accumulator = uint32_t[2];
  template <class Tile>
  using Lane = PanelLane<typename Tile::VTile>;
  template <class Tile>
  static __device__ __forceinline__ Lane<Tile> lane(uint32_t smem) {
    return Lane<Tile>(smem, threadIdx.x & 15, threadIdx.x >> 4 & 1);
  }
  static __device__ __forceinline__ void load(uint32_t (&f)[4], uint32_t at) { ptx::ldmatrix_x4_trans(f, at); }
  template <bool kFirst>
  static __device__ __forceinline__ void multiply(Accumulator& t, const uint32_t (&p)[4], uint32_t b0, uint32_t b1) {
    ptx::mma_m16n8k16_f16_f16<kFirst>(t, p, b0, b1);
  }
};

struct E4m3Multiply {
  static constexpr int kKeys = 32;
  using Accumulator = float[4];
  template <class Tile>
  using Lane = ByteLane<typename Tile::VTile>;
  template <class Tile>
  static __device__ __forceinline__ Lane<Tile> lane(uint32_t smem) {
    return Lane<Tile>(smem);
  }
  static __device__ __forceinline__ void load(uint32_t (&f)[4], uint32_t at) { ptx::ldmatrix_x4(f, at); }
  template <bool kFirst>
  static __device__ __forceinline__ void multiply(Accumulator& t, const uint32_t (&p)[4], uint32_t b0, uint32_t b1) {
    ptx::mma_m16n8k32_e4m3<kFirst>(t, p, b0, b1);
  }
};

struct E4m3F16Multiply : E4m3Multiply {
  using Accumulator = uint32_t[2];
  template <bool kFirst>
  static __device__ __forceinline__ void multiply(Accumulator& t, const uint32_t (&p)[4], uint32_t b0, uint32_t b1) {
    ptx::mma_m16n8k32_e4m3_f16<kFirst>(t, p, b0, b1);
  }
};

__device__ __forceinline__ void fold_into(float (&o)[4], const float (&t)[4]) {
#pragma unroll
  for (int e = 0; e < 4; e++) o[e] += t[e];
}
__device__ __forceinline__ void fold_into(float (&o)[4], const uint32_t (&t)[2]) {
#pragma unroll
  for (int h = 0; h < 2; h++) {
    const float2 x = Element<DType::kFloat16>::unpack(t[h]);
    o[2 * h] += x.x, o[2 * h + 1] += x.y;
  }
}

// The output rows of one warp, as MmaOutput (mma/core.cuh).
template <class Tile, class Multiply>
struct MmaFoldedOutput {
  using Lane = typename Multiply::template Lane<Tile>;
  static constexpr int kParts = Tile::kKeys / Multiply::kKeys;
  float o[Tile::kBlocks][Tile::kD / 8][4] = {};

  static __device__ __forceinline__ Lane lane(uint32_t smem) { return Multiply::template lane<Tile>(smem); }

  __device__ __forceinline__ void scale(int b, int h, float factor) {
#pragma unroll
    for (int i = 0; i < Tile::kD / 8; i++) o[b][i][2 * h] *= factor, o[b][i][2 * h + 1] *= factor;
  }

  // O += P V. `v` is the lane's address in the step's first key.
  __device__ __forceinline__ void add(const uint32_t (&p)[Tile::kBlocks][kParts][4], const Lane& v) {
#pragma unroll
    for (int c = 0; c < Tile::kD / 8; c += 2) {
      typename Multiply::Accumulator t[Tile::kBlocks][2];
#pragma unroll
      for (int k = 0; k < kParts; k++) {
        uint32_t f[4];
        Multiply::load(f, v.at(k * Multiply::kKeys, c));
#pragma unroll
        for (int b = 0; b < Tile::kBlocks; b++) {
#pragma unroll
          for (int i = 0; i < 2; i++) {
            if (k == 0) {
              Multiply::template multiply<true>(t[b][i], p[b][k], f[2 * i], f[2 * i + 1]);
            } else {
              Multiply::template multiply<false>(t[b][i], p[b][k], f[2 * i], f[2 * i + 1]);
            }
          }
        }
      }
#pragma unroll
      for (int b = 0; b < Tile::kBlocks; b++) {
#pragma unroll
        for (int i = 0; i < 2; i++) fold_into(o[b][c + i], t[b][i]);
      }
    }
  }
};

}  // namespace attn4j
