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

// Each warp takes a run of keys: counts what is shown, adds up what the warps before it counted, writes.
__global__ void __launch_bounds__(kThreads) key_list_kernel(const __grid_constant__ KeyList p) {
  __shared__ int counts[kWarps];
  const int batch = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int keys = p.lengths != nullptr ? min(max(p.lengths[batch], 0), p.rows) : p.rows;
  const auto* mask = static_cast<const uint8_t*>(p.mask.data) + batch * p.mask.batch;
  const int run = (keys + kThreads - 1) / kThreads * 32, first = warp * run, end = min(first + run, keys);
  int count = 0;
#pragma unroll 8
  for (int key = first; key < end; key += 32) count += __popc(shown_keys(mask, p.mask.key, key, end));
  if (lane == 0) counts[warp] = count;
  __syncthreads();
  int total = 0, before = 0;
  for (int w = 0; w < kWarps; w++) {
    before += w < warp ? counts[w] : 0;
    total += counts[w];
  }
  int32_t* list = p.list + static_cast<int64_t>(batch) * p.rows;
#pragma unroll 8
  for (int key = first; key < end; key += 32) {
    const uint32_t shown = shown_keys(mask, p.mask.key, key, end);
    if ((shown >> lane & 1) != 0) list[before + __popc(shown & ((1u << lane) - 1))] = key + lane;
    before += __popc(shown);
  }
  if (threadIdx.x == 0) p.counts[batch] = total;
}

}  // namespace

cudaError_t enqueue_key_list(const KeyList& list, cudaStream_t stream) {
  return enqueue_kernel(key_list_kernel, list.batch, kThreads, 0, stream, list);
}

}  // namespace attn4j
