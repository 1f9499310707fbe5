// The two shared-memory layouts of this library.
//
// Core-matrix order, for images that the pre-pass writes and for tiles that a kernel writes itself. A tile of R rows
// with C columns of 16 bytes each is stored as 8-row groups; inside a group, column after column; inside a column, row
// after row:
//
//   offset(r, c) = (r / 8) * (C * 128) + c * 128 + (r % 8) * 16
//
// Each 8 x 16-byte block ("core matrix") is one contiguous 128-byte line of banks. That makes it at once the 8x8 matrix
// that ldmatrix reads without bank conflicts, and the no-swizzle core matrix of Hopper's wgmma. 16-byte piece number i
// of the tile lies at 16 * i, so a tile that was written in this order (an image in the workspace) is copied as one
// contiguous run.
//
// Panels, for 16-bit rows that cp.async copies from where the caller has them. A panel holds 64 channels of all rows:
// row r is the 128-byte line r, and its piece c lies at 16 * (c ^ (r % 8)). A last panel of 32 channels, if the rest is
// that, has two rows in a line: row r at 64 * r, its piece c at 16 * (c ^ (r / 2 % 4)). ldmatrix reads both without
// conflicts. cp.async writes one line of global memory at a time: in core-matrix order its eight pieces would meet in
// the same four banks (22 wavefronts of shared memory per request instead of 4, measured on an H200).
#pragma once

#include <cstdint>

#include "device/numeric.cuh"
#include "device/ptx/cp_async.cuh"
#include "device/tensors.h"

namespace attn4j {

// Row and 16-byte column of piece i of a tile with kColumns columns: consecutive lanes take 8 rows x 4 columns, so
// global accesses are 64-byte runs and shared ones free of conflicts.
template <int kColumns>
__device__ __forceinline__ int piece_row(unsigned i) {
  return (i / (8 * kColumns)) * 8 + (i & 7);
}
template <int kColumns>
__device__ __forceinline__ int piece_column(unsigned i) {
  return (i >> 3) % kColumns;
}

// A tile of kRows rows of kD 16-bit channels in panels.
template <int kRows, int kD>
struct PanelTile {
  static_assert(kRows % 8 == 0 && kD % 32 == 0);
  static constexpr int kTileRows = kRows, kChannels = kD, kWidePanels = kD / 64;
  static constexpr bool kHasNarrow = kD % 64 != 0;
  static constexpr int kPanelBytes = kRows * 128;
  static constexpr int kNarrow = kWidePanels * kPanelBytes;  // offset of the panel of 32 channels
  static constexpr int kBytes = kRows * kD * 2;
};

// The address that a lane gives ldmatrix: piece `piece` (of 8 channels) in row `row` of a tile, both below 16. Rows
// that are a multiple of 16 away lie at a constant distance, pieces that are a multiple of 2 away at constant flipped
// bits.
template <class Tile>
class PanelLane {
 public:
  __device__ __forceinline__ PanelLane(uint32_t smem, int row, int piece)
      : wide_(smem + row * 128 + ((piece ^ (row & 7)) << 4)),
        narrow_(smem + Tile::kNarrow + row * 64 + ((piece ^ (row >> 1 & 3)) << 4)) {}
  // The same in a tile `bytes` (a multiple of 128) away, `rows` (a multiple of 16) below.
  __device__ __forceinline__ PanelLane moved(uint32_t bytes, int rows) const {
    PanelLane lane = *this;
    lane.wide_ += bytes + rows * 128, lane.narrow_ += bytes + rows * 64;
    return lane;
  }
  // `rows` (a multiple of 8) below, `pieces` (a multiple of 2) to the right.
  __device__ __forceinline__ uint32_t at(int rows, int pieces) const {
    if (pieces < 8 * Tile::kWidePanels) {
      return (wide_ ^ (pieces % 8 * 16)) + rows * 128 + pieces / 8 * Tile::kPanelBytes;
    }
    return (narrow_ ^ (pieces % 4 * 16)) + rows * 64;
  }

 private:
  uint32_t wide_, narrow_;
};

// A thread's share of copying tiles of a strided 16-bit tensor into panels.
template <class Tile, int kThreads>
class PanelCopy {
 public:
  // `base`: row 0, channel 0.
  __device__ __forceinline__ PanelCopy(const uint16_t* base, int64_t row_stride, unsigned thread)
      : source_(base + thread / 8 * row_stride + thread % 8 * 8),
        target_(thread / 8 * 128 + ((thread % 8 ^ thread / 8 % 8) << 4)) {}

  // Starts the copy of a tile from first_row on.
  __device__ __forceinline__ void start_whole(uint32_t smem, int64_t row_stride, int first_row, unsigned thread) const {
    copy<false>(smem, source_ + first_row * row_stride, row_stride, 0, 0, thread);
  }
  // The same; rows from `row_end` on and channels from `channels` on, in steps of 8, become zeros.
  __device__ __forceinline__ void start(uint32_t smem, int64_t row_stride, int first_row, int row_end, int channels,
                                        unsigned thread) const {
    copy<true>(smem, source_ + first_row * row_stride, row_stride, row_end - first_row, channels, thread);
  }

 private:
  static constexpr int kStep = kThreads / 8;  // rows that all threads copy a 64-channel panel's part of at once
  static_assert(Tile::kTileRows % kStep == 0 && kStep % 8 == 0);

  // Below `rows` and `channels`, if kBounded.
  template <bool kBounded>
  __device__ __forceinline__ void copy(uint32_t smem, const uint16_t* source, int64_t row_stride, int rows,
                                       int channels, unsigned thread) const {
    const uint32_t target = smem + target_;
    const int row = thread / 8, channel = thread % 8 * 8;
    const uint16_t* narrow = source + 64 * Tile::kWidePanels;
#pragma unroll
    for (int n = 0; n < Tile::kTileRows / kStep; n++) {
      const int end = row + n * kStep < rows ? channels : 0;
#pragma unroll
      for (int p = 0; p < Tile::kWidePanels; p++) {
        put<kBounded>(target + n * kStep * 128 + p * Tile::kPanelBytes, source + 64 * p, channel + 64 * p < end);
      }
      source += kStep * row_stride;
    }
    if constexpr (Tile::kHasNarrow) {
      // Four lanes of eight copy a row, the other four the row kStep below it.
      static_assert(Tile::kTileRows % (2 * kStep) == 0);
      const int low = thread & 3, below = thread >> 2 & 1;
      if (below) narrow += kStep * row_stride - 32;
      const int first = row + below * kStep;
      const uint32_t to = smem + Tile::kNarrow + first * 64 + ((low ^ (first >> 1 & 3)) << 4);
#pragma unroll
      for (int n = 0; n < Tile::kTileRows / kStep / 2; n++) {
        const int end = first + 2 * n * kStep < rows ? channels : 0;
        put<kBounded>(to + 2 * n * kStep * 64, narrow, 64 * Tile::kWidePanels + 8 * low < end);
        narrow += 2 * kStep * row_stride;
      }
    }
  }

  template <bool kBounded>
  static __device__ __forceinline__ void put(uint32_t smem, const uint16_t* source, bool valid) {
    if constexpr (kBounded) {
      ptx::cp_async_16(smem, source, valid);
    } else {
      ptx::cp_async_16(smem, source);
    }
  }

  const uint16_t* source_;
  uint32_t target_;
};

// Starts the copy of a contiguous image. Both addresses are of the thread's first piece.
template <int kBytes, int kThreads>
__device__ __forceinline__ void load_image_async(uint32_t smem, const void* image) {
  static_assert(kBytes % (16 * kThreads) == 0);
#pragma unroll
  for (int n = 0; n < kBytes / (16 * kThreads); n++) {
    ptx::cp_async_16(smem + 16 * n * kThreads, static_cast<const char*>(image) + 16 * n * kThreads);
  }
}

// Writes a tile of 16-bit values to a strided tensor: rows below row_end, channels below channel_end.
template <int kRows, int kColumns, int kThreads>
__device__ __forceinline__ void store_tile(const char* smem, uint16_t* base, int64_t row_stride, int first_row,
                                           int row_end, int channel_end, bool vector, int thread) {
#pragma unroll 4
  for (int i = thread; i < kRows * kColumns; i += kThreads) {
    const int row = first_row + piece_row<kColumns>(i), channel = 8 * piece_column<kColumns>(i);
    if (row >= row_end || channel >= channel_end) continue;
    uint16_t* target = base + row * row_stride + channel;
    const uint4 v = *reinterpret_cast<const uint4*>(smem + 16 * i);
    if (vector) {
      *reinterpret_cast<uint4*>(target) = v;
    } else {
      const uint32_t w[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
      for (int e = 0; e < 8; e++) {
        if (channel + e < channel_end) target[e] = static_cast<uint16_t>(w[e / 2] >> (16 * (e % 2)));
      }
    }
  }
}

}  // namespace attn4j
