// Means and self-similarities of blocks of rows (SpargeAttn, arXiv:2502.18137, section 3.3), made by the teams of
// fp8_quantise.cuh from the rows that they quantise: the prediction reads no tensor of its own.
//
// As in sparse/pool.cu: the sum of all cosines of rows x_1..x_n is |sum of x_i / |x_i||^2. Sums have a fixed order.
#pragma once

#include "device/numeric.cuh"
#include "quant/fp8_prepass.h"
#include "quant/fp8_team.cuh"

namespace attn4j {

// Channels of one lane, summed over some rows of a block.
struct PoolSums {
  float sum[8] = {}, direction[8] = {};

  // One row: 8 channels of it, in kLanes neighbouring lanes. Not in the block: it adds nothing.
  template <int kLanes>
  __device__ __forceinline__ void add(const float (&x)[8], bool in_block) {
    float square = 0.f;
#pragma unroll
    for (int e = 0; e < 8; e++) square = fmaf(x[e], x[e], square);
#pragma unroll
    for (int o = kLanes / 2; o > 0; o >>= 1) square += __shfl_xor_sync(kFullWarp, square, o);
    if (!in_block) return;
    const float inverse = rsqrtf(square);  // a zero row: 0 * inf, and the similarity is NaN
#pragma unroll
    for (int e = 0; e < 8; e++) {
      sum[e] += x[e];
      direction[e] = fmaf(x[e], inverse, direction[e]);
    }
  }
};

// What a team needs to add up the sums of its lanes: D channels of kGroups groups of lanes.
template <int D, int kGroups>
struct PoolScratch {
  float sum[kGroups][D], direction[kGroups][D];
  float squares[kGroups * D / 32];

  __device__ __forceinline__ void store(int group, int piece, const PoolSums& x) {
    if (8 * piece >= D) return;
#pragma unroll
    for (int e = 0; e < 8; e++) {
      sum[group][8 * piece + e] = x.sum[e];
      direction[group][8 * piece + e] = x.direction[e];
    }
  }

  // Writes the means and similarities of kBlocks blocks of kGroups / kBlocks groups each. `rows`: valid rows from the
  // first block's first one on. All threads of the team come here.
  template <int kBlocks>
  __device__ __forceinline__ void finish(const Fp8Team& team, const PooledBlocks& out, int64_t first_block, int rows) {
    constexpr int kPerBlock = kGroups / kBlocks;
    static_assert(D % 32 == 0, "a warp's channels belong to one block");
    team.sync();
    const int block = team.thread() / D, d = team.thread() % D;
    const int count = block < kBlocks ? min(rows - block * out.block, out.block) : 0;
    float total = 0.f, direction_total = 0.f;
    if (count > 0) {
#pragma unroll 4
      for (int g = 0; g < kPerBlock; g++) {
        total += sum[block * kPerBlock + g][d];
        direction_total += direction[block * kPerBlock + g][d];
      }
      if (d < out.pitch) out.means[(first_block + block) * out.pitch + d] = total / static_cast<float>(count);
    }
    float square = direction_total * direction_total;
#pragma unroll
    for (int o = 16; o > 0; o >>= 1) square += __shfl_xor_sync(kFullWarp, square, o);
    if (team.thread() % 32 == 0 && block < kBlocks) squares[team.thread() / 32] = square;
    team.sync();
    if (d == 0 && count > 0) {
      float all = 0.f;
#pragma unroll
      for (int w = 0; w < D / 32; w++) all += squares[block * (D / 32) + w];
      out.similarity[first_block + block] = all / (static_cast<float>(count) * static_cast<float>(count));
    }
    team.sync();
  }
};

}  // namespace attn4j
