// Items whose keys were divided between CTAs (mma/parts.h): what a part leaves in the workspace, and the kernel that
// adds parts up.
#pragma once

#include "arch/arch.h"
#include "attention/mma/parts.h"
#include "attention/mma/softmax.cuh"
#include "attention/mma/tile.cuh"
#include "attention/mma/values.cuh"
#include "attention/nonfinite.cuh"
#include "device/numeric.cuh"
#include "device/ptx/bulk_copy.cuh"

namespace attn4j {

// A part's sums, seen by one lane of the warp that has a 16-row strip of it.
template <class Tile>
class PartStrip {
 public:
  static constexpr int kStrips = Tile::kRows / 16;

  // `part` counts all parts of the call.
  __device__ __forceinline__ PartStrip(float* partials, int part, int strip, int lane)
      : o_(partials + static_cast<int64_t>(part) * part_floats(Tile::kRows, Tile::kD) + strip * 16 * Tile::kD +
           4 * lane),
        rows_(partials + static_cast<int64_t>(part) * part_floats(Tile::kRows, Tile::kD) + Tile::kRows * Tile::kD +
              2 * (16 * strip + lane / 4)) {}

  // Values of channels 8 i and on, as MmaOutput has them.
  __device__ __forceinline__ float4* o(int i) const { return reinterpret_cast<float4*>(o_ + 128 * i); }
  // (reference, sum) of row lane / 4 + 8 h.
  __device__ __forceinline__ float2* row(int h) const { return reinterpret_cast<float2*>(rows_ + 16 * h); }

 private:
  float *o_, *rows_;
};

// lse = ln(sum) + ln(2) * (m + correction), from log2(sum) + m: what the policy left in args.lse is the correction, in
// log2 units.
template <class Policy>
__device__ __forceinline__ void put_lse(float& lse, float log_sum) {
  const float correction = Policy::kCorrectsLse ? lse : 0.f;
  lse = log_sum == -kInfinity ? log_sum : kLn2 * (log_sum + correction);  // -inf without a key, whatever the query is
}

// A row's sums over all parts.
struct MergedRow {
  float reference = -kInfinity, sum = 0.f;

  // What a part's sums count for. Nothing if it saw no key.
  __device__ __forceinline__ float weight(float2 part) const {
    return part.y == 0.f ? 0.f : ptx::ex2_approx_ftz(part.x - reference);
  }
};

// A 16-row strip of an item, by one warp: the sums of its parts, then its rows of the output.
template <class Policy>
class MergedStrip {
  using Tile = typename Policy::Tile;

 public:
  // Of the divided item `divided`, strip `strip`. Parts are added in their order.
  __device__ __forceinline__ MergedStrip(const AttentionArgs& args, int divided, int strip, int lane) : lane_(lane) {
    const int parts = args.parts.parts;
    const auto part = [&](int n) { return PartStrip<Tile>(args.partials, divided * parts + n, strip, lane); };
#pragma unroll 1
    for (int n = 0; n < parts; n++) {
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const float2 x = __ldcg(part(n).row(h));
        if (x.y != 0.f) rows_[h].reference = fmaxf(rows_[h].reference, x.x);
      }
    }
#pragma unroll 1
    for (int n = 0; n < parts; n++) {
      const PartStrip<Tile> from = part(n);
      float weight[2];
#pragma unroll
      for (int h = 0; h < 2; h++) {
        const float2 x = __ldcg(from.row(h));
        weight[h] = rows_[h].weight(x);
        rows_[h].sum = fmaf(weight[h], x.y, rows_[h].sum);
      }
#pragma unroll
      for (int i = 0; i < Tile::kD / 8; i++) {
        const float4 x = __ldcg(from.o(i));
        o_[i][0] = fmaf(weight[0], x.x, o_[i][0]), o_[i][1] = fmaf(weight[0], x.y, o_[i][1]);
        o_[i][2] = fmaf(weight[1], x.z, o_[i][2]), o_[i][3] = fmaf(weight[1], x.w, o_[i][3]);
      }
    }
  }

  // Writes rows first_row + lane / 4 and 8 below it. Whether all that this lane has written is finite.
  __device__ __forceinline__ bool store(const AttentionArgs& args, const WorkItem& item, int first_row) const {
    using E = Element<Policy::kType>;
    const int64_t head = static_cast<int64_t>(item.batch) * args.heads_q + item.head;
    uint32_t nothing = 0;
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const int row = first_row + lane_ / 4 + 8 * h;
      const float sum = rows_[h].sum, inverse = sum == 0.f ? 0.f : __fdividef(1.f, sum);
      if (args.lse != nullptr && row < args.lq && lane_ % 4 == 0) {
        put_lse<Policy>(args.lse[head * args.lq + row], log_of_sum(rows_[h].reference, sum));
      }
      uint16_t* const to = static_cast<uint16_t*>(args.o) + item.batch * args.o_stride.batch +
                           item.head * args.o_stride.head + row * args.o_stride.row;
#pragma unroll
      for (int i = 0; i < Tile::kD / 8; i++) {
        float2 x = make_float2(o_[i][2 * h] * inverse, o_[i][2 * h + 1] * inverse);
        if constexpr (Policy::kScalesValues) {
          x = ValueScales<Tile::kD>(args, item.batch, item.kv_head).channels(i)(x, sum == 0.f ? 0.f : 1.f);
        }
        const uint32_t two = E::pack(x.x, x.y);
        nothing = E::fma2_zero(two, nothing);
        if (row < args.lq) put(args, to, 8 * i + 2 * (lane_ % 4), two);
      }
    }
    return (nothing & 0x7fff7fffu) == 0;
  }

 private:
  static __device__ __forceinline__ void put(const AttentionArgs& args, uint16_t* row, int channel, uint32_t two) {
    if (channel >= args.head_dim) return;
    if (args.vector_io) {
      *reinterpret_cast<uint32_t*>(row + channel) = two;
    } else {
      row[channel] = static_cast<uint16_t>(two);
      if (channel + 1 < args.head_dim) row[channel + 1] = static_cast<uint16_t>(two >> 16);
    }
  }

  const int lane_;
  MergedRow rows_[2];
  float o_[Tile::kD / 8][4] = {};
};

// A warp for each strip of each divided item. Rows that aren't finite are computed again (attention/nonfinite.cuh).
template <class Policy, class Walk>
__global__ void __launch_bounds__(128, 2) merge_parts_kernel(const __grid_constant__ AttentionArgs args) {
  using Tile = typename Policy::Tile;
  constexpr int kStrips = PartStrip<Tile>::kStrips;
  if constexpr (arch::kSm >= 90) ptx::griddepcontrol_wait();  // the parts are there
  const int lane = threadIdx.x % 32, index = blockIdx.x * 4 + threadIdx.x / 32;
  const int divided = index / kStrips, strip = index % kStrips;
  const WorkItem item = work_item<Tile, Walk>(args, args.parts.whole + divided);
  const int first_row = item.first_row + 16 * strip;
  if (item.batch >= args.batch || first_row >= args.lq) return;
  const bool finite = MergedStrip<Policy>(args, divided, strip, lane).store(args, item, first_row);
  if (__all_sync(kFullWarp, finite)) return;
  repair_rows<Policy::kType, Tile::kD>(args, {item.batch * args.heads_q + item.head, first_row, 16}, {}, lane);
}

}  // namespace attn4j
