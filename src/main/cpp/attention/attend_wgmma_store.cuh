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
  // Of 32 channels the quad's threads have 8 neighbours each: the order of V's columns makes it so.
  constexpr int kParts = P::kHeadDim / 32;
  const auto normalised = [&](int part, int r) {
    const auto* scales = reinterpret_cast<const float4*>(v_scale + 32 * part + channel);
    const auto* errors = scales + P::kHeadDim / 4;
    const float factor = inverse[r] == 0.f ? 0.f : mean;
    uint32_t two[4];
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
      const float4 s = scales[i / 2], e = errors[i / 2];
      const float* x = sums + 16 * part + 4 * i + 2 * r;
      two[i] = E::pack(fmaf(x[0], inverse[r], (e.x - kNoError) * factor) * s.x,
                       fmaf(x[1], inverse[r], (e.y - kNoError) * factor) * s.y);
      two[i + 1] = E::pack(fmaf(x[4], inverse[r], (e.z - kNoError) * factor) * s.z,
                           fmaf(x[5], inverse[r], (e.w - kNoError) * factor) * s.w);
    }
    return make_uint4(two[0], two[1], two[2], two[3]);
  };
  auto* const target = static_cast<typename E::type*>(a.o) + item.batch * a.o_stride.batch +
                       item.head * a.o_stride.head + row * a.o_stride.row + channel;
  const auto store = [&](int part, int r, const uint4& x) {
    if (row + 8 * r < a.lq && 32 * part + channel < a.head_dim) {
      ptx::store_global_words4(target + 8 * r * a.o_stride.row + 32 * part, x);
    }
  };
  if constexpr (P::kSlab) {
#pragma unroll
    for (int part = 0; part < kParts; part++) {
#pragma unroll
      for (int r = 0; r < 2; r++) {
        store(part, r, normalised(part, r));
        __syncwarp();  // few registers: loads of the next part stay behind it
      }
    }
  } else {  // loads of shared memory wait for stores before them: all stores last
    uint4 out[kParts][2];
#pragma unroll
    for (int part = 0; part < kParts; part++) {
#pragma unroll
      for (int r = 0; r < 2; r++) out[part][r] = normalised(part, r);
    }
#pragma unroll
    for (int part = 0; part < kParts; part++) {
#pragma unroll
      for (int r = 0; r < 2; r++) store(part, r, out[part][r]);
    }
  }
}

}  // namespace attn4j
