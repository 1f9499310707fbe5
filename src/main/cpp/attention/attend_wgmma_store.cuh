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
                row * a.o_stride.row;
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
  for (int g = 0; g < P::kHeadDim / 32; g++) {  // 8 channels of each row at once: the order of V's columns makes it so
    const int channel = 32 * g + 8 * quad_lane;
    const auto* scales = reinterpret_cast<const float4*>(v_scale + channel);
    const auto* errors = reinterpret_cast<const float4*>(v_scale + P::kHeadDim + channel);
    const float4 s4[2] = {scales[0], scales[1]}, e4[2] = {errors[0], errors[1]};
    const float s[8] = {s4[0].x, s4[0].y, s4[0].z, s4[0].w, s4[1].x, s4[1].y, s4[1].z, s4[1].w};
    const float e[8] = {e4[0].x, e4[0].y, e4[0].z, e4[0].w, e4[1].x, e4[1].y, e4[1].z, e4[1].w};
#pragma unroll
    for (int r = 0; r < 2; r++) {
      uint32_t two[4];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const float* x = sums + 16 * g + 4 * i + 2 * r;
        two[i] = E::pack(fmaf(x[0], inverse[r], fmaf(e[2 * i], factor[r], zero[r])) * s[2 * i],
                         fmaf(x[1], inverse[r], fmaf(e[2 * i + 1], factor[r], zero[r])) * s[2 * i + 1]);
      }
      if (valid[r] && channel < a.head_dim) {
        *reinterpret_cast<uint4*>(target[r] + channel) = make_uint4(two[0], two[1], two[2], two[3]);
      }
    }
  }
}

}  // namespace attn4j
