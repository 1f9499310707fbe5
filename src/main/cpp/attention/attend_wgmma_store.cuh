// The end of an item in the Hopper kernel.
#pragma once

#include "attention/attend_wgmma_item.cuh"
#include "device/numeric.cuh"
#include "device/ptx/global_access.cuh"
#include "device/ptx/math.cuh"

namespace attn4j {

// Normalises and writes a thread's two rows. Rows without a key are zeros with an LSE of -inf.
template <class P, DType T, class Consumer>
__device__ __forceinline__ void wgmma_store(const WgmmaParams& p, const WgmmaItem& item, const float* v_scale,
                                            Consumer& c) {
  const AttentionArgs& a = p.a;
  using E = Element<T>;
  const int lane = threadIdx.x & 31, channel = 8 * (lane & 3);
  const int64_t head = static_cast<int64_t>(item.batch) * a.heads_q + item.head;
  const int row = item.first_row + c.warp_row + (lane >> 2);
  const float(&sums)[P::kVRows / 2] = c.sums();
  float sum[2], inverse[2];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    // The ones column is column D: quad lane 0, first of its two values.
    sum[r] = __shfl_sync(kFullWarp, sums[P::kVRows / 2 - 4 + 2 * r], lane & 28);
    inverse[r] = sum[r] == 0.f ? 0.f : ptx::rcp_approx(sum[r]);  // a NaN stays one
  }
  if (a.lse != nullptr && channel == 0) {
#pragma unroll
    for (int r = 0; r < 2; r++) {
      if (row + 8 * r >= a.lq) continue;
      // The second half of q_scale holds q . mean(k), which the shifted scores lack.
      const int64_t padded = head * a.lq_padded + row + 8 * r;
      const float shift =
          a.k_mean ? __ldcg(a.q_scale + padded + static_cast<int64_t>(a.batch) * a.heads_q * a.lq_padded) : 0.f;
      a.lse[head * a.lq + row + 8 * r] = sum[r] == 0.f ? -kInfinity : kLn2 * (c.reference[r] + log2f(sum[r]) + shift);
    }
  }
  // What rounding took from a channel of V, averaged over the keys, goes into the output of rows that see a key: the
  // weights of a row sum to 1.
  const int keys = a.kv_lengths ? min(a.kv_lengths[item.batch], a.lk) : a.lk;
  const float mean = keys > 0 ? __fdividef(a.v_error_unit, static_cast<float>(keys)) : 0.f;
  const float factor[2] = {sum[0] == 0.f ? 0.f : mean, sum[1] == 0.f ? 0.f : mean};
  const float zero[2] = {-kNoError * factor[0], -kNoError * factor[1]};
  // Of 32 channels the quad's threads have 8 neighbours each: the order of V's columns makes it so.
  constexpr int kParts = P::kHeadDim / 32;
  const auto normalise = [&](int part, uint4(&out)[2]) {
    const auto* scales = reinterpret_cast<const float4*>(v_scale + 32 * part + channel);
    const auto* errors = scales + P::kHeadDim / 4;
    const float4 s4[2] = {scales[0], scales[1]}, e4[2] = {errors[0], errors[1]};
    const float s[8] = {s4[0].x, s4[0].y, s4[0].z, s4[0].w, s4[1].x, s4[1].y, s4[1].z, s4[1].w};
    const float e[8] = {e4[0].x, e4[0].y, e4[0].z, e4[0].w, e4[1].x, e4[1].y, e4[1].z, e4[1].w};
#pragma unroll
    for (int r = 0; r < 2; r++) {
      uint32_t two[4];
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const float* x = sums + 16 * part + 4 * i + 2 * r;
        two[i] = E::pack(fmaf(x[0], inverse[r], fmaf(e[2 * i], factor[r], zero[r])) * s[2 * i],
                         fmaf(x[1], inverse[r], fmaf(e[2 * i + 1], factor[r], zero[r])) * s[2 * i + 1]);
      }
      out[r] = make_uint4(two[0], two[1], two[2], two[3]);
    }
  };
  auto* const target = static_cast<typename E::type*>(a.o) + item.batch * a.o_stride.batch +
                       item.head * a.o_stride.head + row * a.o_stride.row + channel;
  const auto is_there = [&](int part, int r) { return row + 8 * r < a.lq && 32 * part + channel < a.head_dim; };
  if constexpr (P::kSlab) {  // few registers
#pragma unroll
    for (int part = 0; part < kParts; part++) {
      uint4 out[2];
      normalise(part, out);
#pragma unroll
      for (int r = 0; r < 2; r++) {
        if (is_there(part, r)) *reinterpret_cast<uint4*>(target + 8 * r * a.o_stride.row + 32 * part) = out[r];
      }
    }
  } else {  // loads of shared memory wait for stores before them: all stores last
    uint4 out[kParts][2];
#pragma unroll
    for (int part = 0; part < kParts; part++) normalise(part, out[part]);
#pragma unroll
    for (int part = 0; part < kParts; part++) {
#pragma unroll
      for (int r = 0; r < 2; r++) {
        if (is_there(part, r)) {
          ptx::store_global_words4(target + 8 * r * a.o_stride.row + 32 * part, out[part][r]);
        }
      }
    }
  }
}

}  // namespace attn4j
