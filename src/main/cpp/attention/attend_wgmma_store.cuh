// The end of an item in the Hopper kernel.
#pragma once

#include "attention/attend_wgmma_item.cuh"
#include "device/numeric.cuh"

namespace attn4j {

// Normalises and writes a thread's two rows. Rows without a key are zeros with an LSE of -inf.
template <class P, DType T, class Consumer>
__device__ __forceinline__ void wgmma_store(const WgmmaParams& p, const WgmmaItem& item, const float* v_scale,
                                            Consumer& c) {
  const AttentionArgs& a = p.a;
  using E = Element<T>;
  const int lane = threadIdx.x & 31, quad_lane = lane & 3;
  const int64_t head = static_cast<int64_t>(item.batch) * a.heads_q + item.head;
  float sum[2], inverse[2];
  const float(&sums)[P::kVRows / 2] = c.sums();
  bool valid[2];
  typename E::type* target[2];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    // The ones column is channel D: quad lane 0, first of its two values.
    sum[r] = __shfl_sync(kFullWarp, sums[P::kVRows / 2 - 4 + 2 * r], lane & 28);
    inverse[r] = sum[r] == 0.f ? 0.f : 1.f / sum[r];  // a NaN stays one
    const int row = item.first_row + c.warp_row + (lane >> 2) + 8 * r;
    valid[r] = row < a.lq;
    target[r] = static_cast<typename E::type*>(a.o) + item.batch * a.o_stride.batch + item.head * a.o_stride.head +
                row * a.o_stride.row + 2 * quad_lane;
    if (a.lse != nullptr && quad_lane == 0 && valid[r]) {
      // The second half of q_scale holds q . mean(k), which the shifted scores lack.
      const int64_t padded = head * a.lq_padded + row;
      const float shift =
          a.k_mean ? __ldcg(a.q_scale + padded + static_cast<int64_t>(a.batch) * a.heads_q * a.lq_padded) : 0.f;
      a.lse[head * a.lq + row] = sum[r] == 0.f ? -kInfinity : kLn2 * (c.reference[r] + log2f(sum[r]) + shift);
    }
  }
  // What rounding took from a channel of V, averaged over the keys, goes into the output of rows that see a key: the
  // weights of a row sum to 1.
  const int keys = a.kv_lengths ? min(a.kv_lengths[item.batch], a.lk) : a.lk;
  const float mean = keys > 0 ? __fdividef(a.v_error_unit, static_cast<float>(keys)) : 0.f;
  const float factor[2] = {sum[0] == 0.f ? 0.f : mean, sum[1] == 0.f ? 0.f : mean};
  const float zero[2] = {-kNoError * factor[0], -kNoError * factor[1]};
#pragma unroll
  for (int i = 0; i < P::kHeadDim / 8; i++) {
    if (8 * i >= a.head_dim) break;
    const float2 s = reinterpret_cast<const float2*>(v_scale)[4 * i + quad_lane];
    const float2 e = reinterpret_cast<const float2*>(v_scale + P::kHeadDim)[4 * i + quad_lane];
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const uint32_t two = E::pack(fmaf(sums[4 * i + 2 * r], inverse[r], fmaf(e.x, factor[r], zero[r])) * s.x,
                                   fmaf(sums[4 * i + 2 * r + 1], inverse[r], fmaf(e.y, factor[r], zero[r])) * s.y);
      if (valid[r]) *reinterpret_cast<uint32_t*>(target[r] + 8 * i) = two;
    }
  }
}

}  // namespace attn4j
