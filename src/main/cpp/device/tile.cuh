// The one shared-memory layout of this library: core-matrix order.
//
// A tile of R rows with C columns of 16 bytes each is stored as 8-row groups; inside a group, column after column;
// inside a column, row after row:
//
//   offset(r, c) = (r / 8) * (C * 128) + c * 128 + (r % 8) * 16
//
// Each 8 x 16-byte block ("core matrix") is one contiguous 128-byte line of banks. That makes it at once the 8x8 matrix
// that ldmatrix reads without bank conflicts, and the no-swizzle core matrix of Hopper's wgmma. 16-byte piece number i
// of the tile lies at 16 * i, so a tile that was written in this order (an image in the workspace) is copied as one
// contiguous run.
#pragma once

#include <cstdint>

#include "device/numeric.cuh"
#include "device/ptx/cp_async.cuh"
#include "host/kernels.h"

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

// Starts the copy of rows [first_row, first_row + kRows) of a strided 16-bit tensor into a tile. Rows from `row_end` on
// and columns from `column_end` on become zeros.
template <int kRows, int kColumns, int kThreads>
__device__ __forceinline__ void load_tile_async(uint32_t smem, const uint16_t* base, int64_t row_stride, int first_row,
                                                int row_end, int column_end, unsigned thread) {
  if constexpr (kThreads >= 8 * kColumns) {
    // Of the threads, as many as make whole 8-row groups take part: each stays in one column, with one pointer that
    // walks down the rows.
    constexpr int kActive = kThreads / (8 * kColumns) * (8 * kColumns), kStep = kActive / kColumns;
    static_assert(kRows % kStep == 0);
    if (kActive < kThreads && thread >= kActive) return;
    int row = first_row + piece_row<kColumns>(thread);
    const int column = piece_column<kColumns>(thread);
    const int end = column < column_end ? row_end : 0;
    const uint16_t* source = base + row * row_stride + column * 8;
    const int64_t step = kStep * row_stride;
#pragma unroll
    for (int n = 0; n < kRows / kStep; n++) {
      ptx::cp_async_16(smem + 16 * (n * kActive + thread), row < end ? source : base, row < end);
      row += kStep;
      source += step;
    }
  } else {
    static_assert(kRows * kColumns % kThreads == 0, "every thread copies the same number of pieces");
#pragma unroll
    for (int n = 0; n < kRows * kColumns / kThreads; n++) {
      const unsigned i = n * kThreads + thread;
      const int row = first_row + piece_row<kColumns>(i), column = piece_column<kColumns>(i);
      const bool valid = row < row_end && column < column_end;
      ptx::cp_async_16(smem + 16 * i, valid ? base + row * row_stride + column * 8 : base, valid);
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
