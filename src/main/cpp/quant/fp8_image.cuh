// Workspace images of the Hopper path, in the order in which wgmma reads shared memory: a tile is one contiguous copy.
//
// K and Q, int8, row t, channel d: (t / 8) * 8D + (d / 16) * 128 + (t % 8) * 16 + d % 16 (core-matrix order).
// V, e4m3, transposed, units of 32 keys: [(D + 8) / 8 groups of columns][2 halves of 16 keys][8 columns][16 key
// positions]. Position 4q + j of a half holds key 8 * (j >> 1) + 2q + (j & 1): in this order the score accumulators of
// a quad are the A operand of P V without a shuffle. Column 8i + 2q + e of 32 holds channel 8q + 2i + e: a thread's
// accumulators of O are 8 neighbouring channels of a row, and it writes them at once. Column D is 1.0 for valid keys
// and 0 otherwise, so that the tensor core sums each row of the *rounded* probabilities, and keys beyond the end count
// for nothing; columns D + 1 to D + 7 are 0.
#pragma once

#include <cstdint>

#include "quant/prepared.h"

namespace attn4j {

template <int D>
__host__ __device__ constexpr int64_t image_offset(int64_t row, int piece8) {
  // `piece8`: 8-channel piece; two pieces share a 16-byte chunk.
  return (row >> 3) * (8 * D) + (piece8 >> 1) * 128 + (row & 7) * 16 + (piece8 & 1) * 8;
}

// Bytes between the columns of channels 2n and 2n + 1, and between those of 4n and 4n + 2.
constexpr int kVNextColumn = 16, kVNextPair = 256;

__host__ __device__ constexpr int v_column(int channel) {
  return (channel & ~31) | ((channel >> 1 & 3) << 3) | ((channel >> 3 & 3) << 1) | (channel & 1);
}

template <int D>
__host__ __device__ constexpr int64_t v_unit_offset(int64_t key, int column) {
  return (key >> 5) * (32 * (D + 8)) + (column >> 3) * 256 + ((key >> 4) & 1) * 128 + (column & 7) * kVNextColumn;
}

constexpr uint8_t kE4m3One = 0x38;

}  // namespace attn4j
