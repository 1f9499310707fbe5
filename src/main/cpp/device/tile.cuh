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
  static constexpr int kTileRows = kRows, kWidePanels = kD / 64;
  static constexpr bool kHasNarrow = kD % 64 != 0;
  static constexpr int kPanelBytes = kRows * 128;
  static constexpr int kNarrow = kWidePanels * kPanelBytes;  // offset of the panel of 32 channels
  static constexpr int kBytes = kRows * kD * 2;
};

// The address that a lane gives ldmatrix: piece `piece` (of 8 channels) in row `row` of a tile, both below 16. Rows
// that are a multiple of 8 away lie at a constant distance, pieces that are a multiple of 2 away at constant flipped
// bits.
template <class Tile>
class PanelLane {
 public:
  __device__ __forceinline__ PanelLane(int row, int piece)
      : wide_(row * 128 + ((piece ^ (row & 7)) << 4)), narrow_(row * 64 + ((piece ^ (row >> 1 & 3)) << 4)) {}
  // In the tile at `smem`, `rows` (a multiple of 8) below and `pieces` (a multiple of 2) to the right.
  __device__ __forceinline__ uint32_t at(uint32_t smem, int rows, int pieces) const {
    if (pieces < 8 * Tile::kWidePanels) {
      return smem + (wide_ ^ (pieces % 8 * 16)) + rows * 128 + pieces / 8 * Tile::kPanelBytes;
    }
    return smem + (narrow_ ^ (pieces % 4 * 16)) + rows * 64 + Tile::kNarrow;
  }

 private:
  uint32_t wide_, narrow_;
};

// Starts the copy of a tile's rows of a strided 16-bit tensor, `first_row` being the first. Rows from `row_end` on and
// channels from `channel_end` on, in steps of 8, become zeros.
template <class Tile, int kThreads>
__device__ __forceinline__ void load_panels_async(uint32_t smem, const uint16_t* base, int64_t row_stride,
                                                  int first_row, int row_end, int channel_end, unsigned thread) {
  constexpr int kRows = Tile::kTileRows;
  {
    constexpr int kStep = kThreads / 8;
    static_assert(kRows % kStep == 0 && (kStep % 8 == 0 || kStep == 4));
    const int r = thread / 8, c = thread % 8;
    const uint32_t target = smem + r * 128 + ((c ^ (r & 7)) << 4);
    const uint16_t* source = base + (first_row + r) * row_stride + c * 8;
#pragma unroll
    for (int n = 0; n < kRows / kStep; n++) {
      const int columns = first_row + r + n * kStep < row_end ? channel_end - 8 * c : 0;
      const uint32_t row = (target ^ (n * kStep % 8 * 16)) + n * kStep * 128;  // one warp goes down by 4 rows
#pragma unroll
      for (int p = 0; p < Tile::kWidePanels; p++) {
        ptx::cp_async_16(row + p * Tile::kPanelBytes, source + 64 * p, 64 * p < columns);
      }
      source += kStep * row_stride;
    }
  }
  if constexpr (Tile::kHasNarrow) {
    constexpr int kStep = kThreads / 4;
    static_assert(kRows % kStep == 0);
    const int r = thread / 4, c = thread % 4, channel = 64 * Tile::kWidePanels + 8 * c;
    const uint32_t target = smem + Tile::kNarrow + r * 64 + ((c ^ (r >> 1 & 3)) << 4);
    const uint16_t* source = base + (first_row + r) * row_stride + channel;
    const int end = channel < channel_end ? row_end : 0;
#pragma unroll
    for (int n = 0; n < kRows / kStep; n++) {
      ptx::cp_async_16(target + n * kStep * 64, source, first_row + r + n * kStep < end);
      source += kStep * row_stride;
    }
  }
}

// Starts the copy of a contiguous image.
template <int kBytes, int kThreads>
__device__ __forceinline__ void load_image_async(uint32_t smem, const void* image, int thread) {
  static_assert(kBytes % 16 == 0);
  const char* source = static_cast<const char*>(image);
#pragma unroll
  for (int n = 0; n < (kBytes / 16 + kThreads - 1) / kThreads; n++) {
    const int i = n * kThreads + thread;
    if (kBytes / 16 % kThreads == 0 || i < kBytes / 16) ptx::cp_async_16(smem + 16 * i, source + 16 * i, true);
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
