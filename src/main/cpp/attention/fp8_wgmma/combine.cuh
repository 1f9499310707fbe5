// Items of the Hopper kernel whose keys were divided (fp8_wgmma/split.h): parts leave their sums in the workspace,
// and the warp that comes last adds them up.
#pragma once

#include "attention/fp8_wgmma/item.cuh"
#include "device/numeric.cuh"
#include "device/ptx/global_sync.cuh"
#include "device/ptx/math.cuh"
#include "device/ptx/ordering.cuh"

namespace attn4j {

// Takes a warp's rows of part `partial`. True if those of all parts are there: then c's sums and references are the
// item's. They are added in the order of the parts, whoever comes last: the result has the same bits each time.
template <class P, class Consumer>
__device__ __forceinline__ bool wgmma_combine(const WgmmaParams& p, int partial, Consumer& c) {
  // A thread has kPieces times four sums, and in a last piece the normalisers and references of its two rows.
  constexpr int kPieces = P::kHeadDim / 8, kOnes = 4 * kPieces, kWarps = 4 * P::kConsumers;
  constexpr int kPart = kWarps * (kPieces + 1) * 32;
  static_assert(kWarps == kWgmmaItemWarps && 4 * kPart == wgmma_part_floats(P::kHeadDim));
  const int parts = p.a.split.parts, item = partial / parts, lane = ptx::thread_index() & 31, warp = c.warp_row / 16;
  float(&sums)[P::kVRows / 2] = c.sums();
  float4* const first = reinterpret_cast<float4*>(p.a.partials) + static_cast<int64_t>(item) * parts * kPart +
                        warp * (kPart / kWarps) + lane;
  float4* const mine = first + (partial - item * parts) * kPart;
#pragma unroll
  for (int i = 0; i < kPieces; i++) {
    __stcg(mine + 32 * i, make_float4(sums[4 * i], sums[4 * i + 1], sums[4 * i + 2], sums[4 * i + 3]));
  }
  __stcg(mine + 32 * kPieces, make_float4(sums[kOnes], sums[kOnes + 2], c.reference[0], c.reference[1]));
  __syncwarp();
  int before = 0;
  if (lane == 0) before = ptx::fetch_add_acq_rel(p.a.parts_done + item * kWarps + warp, 1);
  before = __shfl_sync(kFullWarp, before, 0);
  __syncwarp();
  if ((before + 1) % parts != 0) return false;  // where attention runs again without a pre-pass, it counts on

  // References are integers: the factors to their maximum are powers of two. A part in which a row has seen no key has
  // sums of 0, or NaN.
  float top[2] = {-kInfinity, -kInfinity};
#pragma unroll 1
  for (int n = 0; n < parts; n++) {
    const float4 last = __ldcg(first + n * kPart + 32 * kPieces);
    if (last.z != kNoKeyYet) top[0] = fmaxf(top[0], last.z);
    if (last.w != kNoKeyYet) top[1] = fmaxf(top[1], last.w);
  }
#pragma unroll
  for (int i = 0; i < P::kVRows / 2; i++) sums[i] = 0.f;
#pragma unroll 1
  for (int n = 0; n < parts; n++) {
    const float4* const from = first + n * kPart;
    const float4 last = __ldcg(from + 32 * kPieces);
    const float f[2] = {last.z == kNoKeyYet ? 0.f : ptx::ex2_approx_ftz(last.z - top[0]),
                        last.w == kNoKeyYet ? 0.f : ptx::ex2_approx_ftz(last.w - top[1])};
#pragma unroll
    for (int i = 0; i < kPieces; i++) {
      if (P::kSlab && i > 0 && i % 3 == 0) __syncwarp();  // few registers: not all loads at once
      const float4 x = __ldcg(from + 32 * i);
      sums[4 * i] = fmaf(x.x, f[0], sums[4 * i]);
      sums[4 * i + 1] = fmaf(x.y, f[0], sums[4 * i + 1]);
      sums[4 * i + 2] = fmaf(x.z, f[1], sums[4 * i + 2]);
      sums[4 * i + 3] = fmaf(x.w, f[1], sums[4 * i + 3]);
    }
    sums[kOnes] = fmaf(last.x, f[0], sums[kOnes]);
    sums[kOnes + 2] = fmaf(last.y, f[1], sums[kOnes + 2]);
  }
  c.reference[0] = top[0];
  c.reference[1] = top[1];
  return true;
}

}  // namespace attn4j
