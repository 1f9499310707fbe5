// Adds up what the CTAs of attention/split/exact.cuh found in their parts of the keys.
#pragma once

#include "arch/arch.h"
#include "attention/arguments.h"
#include "attention/split/plan.h"
#include "device/launch.cuh"
#include "device/numeric.cuh"
#include "device/ptx/bulk_copy.cuh"

namespace attn4j {

// The workspace of a call: sums of the parts, and (reference in log2 units, sum of probabilities) of their rows.
struct SplitPartials {
  float* o;      // [b, hkv][part][lq * group][kD], not divided by the row's sum
  float2* rows;  // [b, hkv][part][lq * group]

  __device__ __forceinline__ SplitPartials(const AttentionArgs& a, const SplitPlan& plan, int channels)
      : o(a.partials),
        rows(reinterpret_cast<float2*>(a.partials +
                                       int64_t{a.batch} * a.heads_kv * plan.splits * a.lq * a.group * channels)) {}
};

// What the sums of a part (reference, sum) count for beside a reference of `m`. 0 for a part that saw no key.
__device__ __forceinline__ float split_weight(float2 part, float m) {
  return part.x == -kInfinity && part.y == 0.f ? 0.f : ptx::ex2_approx_ftz(part.x == -kInfinity ? 0.f : part.x - m);
}

struct SplitRow {
  int batch, kv_head;
  int64_t row;  // query * group + head of the group
};

// What an empty sum stands for: 0 for a row that sees no key; NaN, as the formula has it, where all scores are -inf.
__device__ __forceinline__ float empty_sum(const AttentionArgs& a, int batch, int query) {
  const int keys = a.kv_lengths != nullptr ? a.kv_lengths[batch] : a.lk;
  return min(min(keys, a.lk), query + a.causal_offset + 1) > 0 ? __int_as_float(0x7fffffff) : 0.f;
}

// Writes 8 channels of a row, and its log-sum-exp with the first.
template <DType T>
__device__ __forceinline__ void split_store_row(const AttentionArgs& a, const SplitRow& r, int channel,
                                                const float (&x)[8], float m, float sum) {
  const int query = static_cast<int>(r.row / a.group), member = static_cast<int>(r.row - int64_t{query} * a.group);
  const int64_t head = int64_t{r.kv_head} * a.group + member;
  const float factor = sum == 0.f ? empty_sum(a, r.batch, query) : 1.f / sum;
  if (channel == 0 && a.lse != nullptr) {
    const float lse = sum == 0.f ? factor - kInfinity : kLn2 * m + logf(sum);
    a.lse[(int64_t{r.batch} * a.heads_q + head) * a.lq + query] = lse;
  }
  if (channel >= a.head_dim) return;
  uint16_t* const o = static_cast<uint16_t*>(a.o) + r.batch * a.o_stride.batch + head * a.o_stride.head +
                      query * a.o_stride.row + channel;
  uint32_t w[4];
#pragma unroll
  for (int e = 0; e < 4; e++) w[e] = Element<T>::pack(x[2 * e] * factor, x[2 * e + 1] * factor);
  if (a.vector_io) {
    *reinterpret_cast<uint4*>(o) = make_uint4(w[0], w[1], w[2], w[3]);
  } else {
#pragma unroll
    for (int e = 0; e < 8; e++) {
      if (channel + e < a.head_dim) o[e] = static_cast<uint16_t>(w[e / 2] >> (16 * (e % 2)));
    }
  }
}

// A row for each kWarps warps; a warp has 32 parts at most. Lanes have 8 channels each.
template <int kD, DType T, int kWarps>
__global__ void __launch_bounds__(256)
    split_combine_kernel(const __grid_constant__ AttentionArgs args, const __grid_constant__ SplitPlan plan) {
  constexpr int kPieces = kD / 8;
  if constexpr (arch::kSm >= 90) ptx::griddepcontrol_wait();  // the parts are there
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % kWarps;
  const int64_t rows = int64_t{args.lq} * args.group, all = rows * args.batch * args.heads_kv;
  const int64_t index = int64_t{blockIdx.x} * (8 / kWarps) + threadIdx.x / (32 * kWarps);
  if (index >= all) return;
  const int64_t kv_head = index / rows, row = index - kv_head * rows;
  const SplitPartials partials(args, plan, kD);
  const int64_t first = kv_head * plan.splits * rows + row;  // the row's first part

  // The parts of this warp: part warp + i * kWarps is lane i's.
  const int mine = warp + lane * kWarps;
  const float2 part = mine < plan.splits ? partials.rows[first + mine * rows] : make_float2(-kInfinity, 0.f);
  float m = part.x;
#pragma unroll
  for (int i = 16; i > 0; i /= 2) m = fmaxf(m, __shfl_xor_sync(kFullWarp, m, i));
  __shared__ float warp_m[kWarps], warp_sum[kWarps];
  __shared__ float warp_o[kWarps > 1 ? kWarps : 1][kWarps > 1 ? kD : 1];
  if constexpr (kWarps > 1) {
    if (lane == 0) warp_m[warp] = m;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kWarps; i++) m = fmaxf(m, warp_m[i]);
  }
  const float weight = split_weight(part, m);
  float sum = weight * part.y;
#pragma unroll
  for (int i = 16; i > 0; i /= 2) sum += __shfl_xor_sync(kFullWarp, sum, i);

  float x[8] = {};
  const int count = (plan.splits - warp + kWarps - 1) / kWarps;
  const float* o = partials.o + (first + warp * rows) * kD + lane * 8;
#pragma unroll 4
  for (int i = 0; i < count; i++) {
    const float factor = __shfl_sync(kFullWarp, weight, i);
    if (lane < kPieces) {
      const float4 low = *reinterpret_cast<const float4*>(o), high = *reinterpret_cast<const float4*>(o + 4);
      x[0] += factor * low.x, x[1] += factor * low.y, x[2] += factor * low.z, x[3] += factor * low.w;
      x[4] += factor * high.x, x[5] += factor * high.y, x[6] += factor * high.z, x[7] += factor * high.w;
    }
    o += kWarps * rows * kD;
  }
  if constexpr (kWarps > 1) {
    if (lane == 0) warp_sum[warp] = sum;
    if (lane < kPieces) {
#pragma unroll
      for (int e = 0; e < 8; e++) warp_o[warp][lane * 8 + e] = x[e];
    }
    __syncthreads();
    if (warp > 0 || lane >= kPieces) return;
    sum = 0.f;
#pragma unroll
    for (int e = 0; e < 8; e++) x[e] = 0.f;
#pragma unroll
    for (int i = 0; i < kWarps; i++) {
      sum += warp_sum[i];
#pragma unroll
      for (int e = 0; e < 8; e++) x[e] += warp_o[i][lane * 8 + e];
    }
  }
  if (lane >= kPieces) return;
  const int batch = static_cast<int>(kv_head / args.heads_kv);
  split_store_row<T>(args, {batch, static_cast<int>(kv_head - int64_t{batch} * args.heads_kv), row}, lane * 8, x, m,
                     sum);
}

template <int kD, DType T, int kWarps>
cudaError_t launch_split_combine_warps(const AttentionArgs& args, const SplitPlan& plan, cudaStream_t stream) {
  const int64_t rows = int64_t{args.lq} * args.group * args.batch * args.heads_kv;
  return enqueue_kernel<(arch::kSm >= 90)>(split_combine_kernel<kD, T, kWarps>,
                                           static_cast<unsigned>((rows * kWarps + 7) / 8), 256, 0, stream, args, plan);
}

template <int kD, DType T>
cudaError_t launch_split_combine(const AttentionArgs& args, const SplitPlan& plan, cudaStream_t stream) {
  return plan.splits <= 8 ? launch_split_combine_warps<kD, T, 1>(args, plan, stream)
                          : launch_split_combine_warps<kD, T, 8>(args, plan, stream);
}

}  // namespace attn4j
