// Which keys a mask shows, as a list: one CTA for each batch entry.
#include "device/launch.cuh"
#include "device/numeric.cuh"
#include "quant/quantize.h"

namespace attn4j {
namespace {

constexpr int kThreads = 1024, kWarps = kThreads / 32;

// The flags of a warp's 32 keys from `first` on, as bits.
__device__ __forceinline__ uint32_t shown_keys(const uint8_t* mask, int64_t stride, int first, int end) {
  const int key = first + static_cast<int>(threadIdx.x % 32);
  return __ballot_sync(kFullWarp, key < end && mask[key * stride] != 0);
}

// A warp's run of keys, and what the warps know of each other's.
struct KeyRuns {
  int counts[kWarps], firsts[kWarps], lasts[kWarps];  // shown keys of a run; the first and the last, or -1
};

// What all runs before a warp's have, or all there are.
struct ShownBefore {
  int count = 0, total = 0;
  int last = -1, last_of_all = -1, first_of_all = -1;

  __device__ __forceinline__ ShownBefore(const KeyRuns& runs, int warp) {
    for (int w = 0; w < kWarps; w++) {
      if (w < warp) count += runs.counts[w];
      if (w < warp && runs.lasts[w] >= 0) last = runs.lasts[w];
      if (runs.lasts[w] >= 0) last_of_all = runs.lasts[w];
      if (first_of_all < 0) first_of_all = runs.firsts[w];
      total += runs.counts[w];
    }
  }
};

// Each warp takes a run of keys: looks what is shown, learns what the warps before it have, writes.
__global__ void __launch_bounds__(kThreads) key_list_kernel(const __grid_constant__ KeyList p) {
  __shared__ KeyRuns runs;
  const int batch = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int keys = p.lengths != nullptr ? min(max(p.lengths[batch], 0), p.rows) : p.rows;
  const auto* mask = static_cast<const uint8_t*>(p.mask.data) + batch * p.mask.batch;
  const int run = (keys + kThreads - 1) / kThreads * 32, start = warp * run, end = min(start + run, keys);
  int count = 0, first = -1, last = -1;
#pragma unroll 8
  for (int key = start; key < end; key += 32) {
    const uint32_t shown = shown_keys(mask, p.mask.key, key, end);
    count += __popc(shown);
    if (shown != 0 && first < 0) first = key + 31 - __clz(static_cast<int>(shown & -shown));
    if (shown != 0) last = key + 31 - __clz(static_cast<int>(shown));
  }
  if (lane == 0) runs.counts[warp] = count, runs.firsts[warp] = first, runs.lasts[warp] = last;
  __syncthreads();
  const ShownBefore before(runs, warp);
  int32_t* list = p.list + static_cast<int64_t>(batch) * p.rows;
  uint32_t* hidden = p.hidden + static_cast<int64_t>(batch) * ((p.rows + 31) / 32);
  int at = before.count, previous = before.last;
#pragma unroll 8
  for (int key = start; key < end; key += 32) {
    const uint32_t shown = shown_keys(mask, p.mask.key, key, end);
    const uint32_t up_to = shown & (0xffffffffu >> (31 - lane));
    const bool shows = (shown >> lane & 1) != 0;
    if (p.keeps_numbers) {
      const int known = up_to != 0 ? key + 31 - __clz(static_cast<int>(up_to)) : previous;
      if (key + lane < end) list[key + lane] = shows ? key + lane : ~(known >= 0 ? known : max(before.first_of_all, 0));
      if (lane == 0) hidden[key / 32] = ~shown;
      if (shown != 0) previous = key + 31 - __clz(static_cast<int>(shown));
    } else if (shows) {
      list[at + __popc(up_to) - 1] = key + lane;
    }
    at += __popc(shown);
  }
  if (threadIdx.x == 0) p.counts[batch] = p.keeps_numbers ? before.last_of_all + 1 : before.total;
}

}  // namespace

cudaError_t enqueue_key_list(const KeyList& list, cudaStream_t stream) {
  return enqueue_kernel(key_list_kernel, list.batch, kThreads, 0, stream, list);
}

}  // namespace attn4j
