// INT8 Q K^T, FP8 P V attention on Hopper's warpgroup instructions. docs/hopper.md explains it with a figure.
//
// One persistent CTA per SM: a producer thread that copies ready-made shared-memory images, and two consumer warpgroups
// of 64 query rows each. The images are written by quant/fp8_prepass.cuh.
#pragma once

#include <cstddef>

#include "attention/attend_wgmma_consumer.cuh"
#include "device/ptx/bulk_copy.cuh"
#include "host/kernels.h"

namespace attn4j {

struct WgmmaParams {
  AttentionArgs a;
  int32_t query_blocks;   // per head
  int32_t items;          // (batch, head, query block)
  int32_t section_heads;  // heads whose K and V images share the L2 cache
};

// Handed from the producer to the consumers in shared memory.
struct alignas(32) WgmmaItem {
  int32_t limit;  // last key that the first row sees; before all else, where WgmmaConsumer::row_limit looks for it
  int32_t tiles;  // -1: no more items
  int32_t batch, head, first_row;
  float skip_below;  // listed keys: a half whose scores all stay this far from the reference is left out
};
static_assert(offsetof(WgmmaItem, skip_below) == WgmmaPolicy<128>::kSkipBelowAt);

// Keys that an item sees, and its place in the order of work: sections of heads that fit the L2 cache, and within a
// section the longest items first, so that the last ones to finish are short.
template <class P>
__device__ __forceinline__ WgmmaItem wgmma_item(const WgmmaParams& p, int index) {
  const AttentionArgs& a = p.a;
  const bool by_length = P::kListed || a.causal_offset != kNotCausal;
  const int heads = a.batch * a.heads_q, section = index / (p.section_heads * p.query_blocks);
  const int first = section * p.section_heads, count = min(p.section_heads, heads - first);
  const int rest = index - first * p.query_blocks;
  const int rank = by_length ? rest / count : rest % p.query_blocks;
  const int head = first + (by_length ? rest % count : rest / p.query_blocks);
  int block = by_length ? p.query_blocks - 1 - rank : rank;
  if constexpr (P::kListed) block = __ldg(a.blocks.order + static_cast<int64_t>(head) * p.query_blocks + rank);
  WgmmaItem item;
  item.batch = head / a.heads_q;
  item.head = head - item.batch * a.heads_q;
  item.first_row = block * P::kRows;
  int keys = a.kv_lengths ? min(a.kv_lengths[item.batch], a.lk) : a.lk;
  keys = min(keys, min(item.first_row + P::kRows, a.lq) + a.causal_offset);
  if constexpr (P::kListed) {
    keys = __ldg(a.blocks.count + static_cast<int64_t>(head) * p.query_blocks + block) * P::kBlockKeys;
    // The maximum of a row lies at least this far above its reference (raise). Without a threshold, skip what vanishes.
    constexpr float kLeastLead = kMaxExponent - P::kHeadroom - 1.f;
    const float threshold = a.blocks.pv_thresholds ? __ldg(a.blocks.pv_thresholds + item.head) : a.blocks.pv_threshold;
    item.skip_below = fmaxf(kLeastLead - threshold, kVanishes);
  }
  item.tiles = keys > 0 ? (keys + P::kKeys - 1) / P::kKeys : 0;
  item.limit = item.first_row + a.causal_offset;
  return item;
}

// Copies all tiles of an item, the last keys first.
template <class P>
struct WgmmaAllTiles {
  static __device__ __forceinline__ void produce(const WgmmaParams& p, const WgmmaItem& item, unsigned char*,
                                                 uint32_t smem, WgmmaBarriers<P> barrier,
                                                 RingPosition<P::kStages>& at) {
    const AttentionArgs& a = p.a;
    // One running key index addresses all three images: this warpgroup has few registers.
    const int64_t kv_head = item.batch * a.heads_kv + item.head / a.group;
    int64_t key = kv_head * a.lk_padded + static_cast<int64_t>(item.tiles) * P::kKeys;
#pragma unroll 1
    for (int left = item.tiles; left > 0; left--) {
      if constexpr (P::kRandomDelay) random_delay();
      key -= P::kKeys;
      ptx::mbarrier_wait(barrier.k_empty(at.stage), at.parity ^ 1);
      ptx::mbarrier_arrive_expect_tx(barrier.k_full(at.stage), P::kKBytes + P::kScaleBytes);
      ptx::bulk_copy_to_shared(smem + P::kKAt + at.stage * P::kKBytes, a.k_image + key * P::kHeadDim, P::kKBytes,
                               barrier.k_full(at.stage));
      ptx::bulk_copy_to_shared(smem + P::kScaleAt + at.stage * P::kScaleBytes, a.k_scale + key / 8, P::kScaleBytes,
                               barrier.k_full(at.stage));
      ptx::mbarrier_wait(barrier.v_empty(at.stage), at.parity ^ 1);
      ptx::mbarrier_arrive_expect_tx(barrier.v_full(at.stage), P::kVBytes);
      ptx::bulk_copy_to_shared(smem + P::kVAt + at.stage * P::kVBytes, a.v_image + key * P::kVRows, P::kVBytes,
                               barrier.v_full(at.stage));
      at.advance();
    }
  }
};

template <class P>
__device__ __forceinline__ void wgmma_produce(const WgmmaParams& p, unsigned char* shared, uint32_t smem,
                                              WgmmaBarriers<P> barrier) {
  const AttentionArgs& a = p.a;
  auto* items = reinterpret_cast<WgmmaItem*>(shared + P::kItemAt);
  RingPosition<P::kStages> at;
  RingPosition<2> q_at;
  ptx::griddepcontrol_wait();  // the pre-pass writes the images and zeroes the counter
  int index = atomicAdd(a.work_counter, 1);
  while (true) {
    ptx::mbarrier_wait(barrier.q_empty(q_at.stage), q_at.parity ^ 1);
    if (index >= p.items) {
      items[q_at.stage].tiles = -1;
      ptx::mbarrier_arrive(barrier.q_full(q_at.stage));
      return;
    }
    const WgmmaItem item = wgmma_item<P>(p, index);
    items[q_at.stage] = item;
    const int64_t q_row = static_cast<int64_t>(item.batch * a.heads_q + item.head) * a.lq_padded + item.first_row;
    ptx::mbarrier_arrive_expect_tx(barrier.q_full(q_at.stage), P::kQBytes + P::kQScaleBytes + P::kVScaleBytes);
    ptx::bulk_copy_to_shared(smem + P::kQAt + q_at.stage * P::kQBytes, a.q_image + q_row * P::kHeadDim, P::kQBytes,
                             barrier.q_full(q_at.stage));
    ptx::bulk_copy_to_shared(smem + P::kQScaleAt + q_at.stage * P::kQScaleBytes, a.q_scale + q_row, P::kQScaleBytes,
                             barrier.q_full(q_at.stage));
    const int64_t kv_head = item.batch * a.heads_kv + item.head / a.group;
    ptx::bulk_copy_to_shared(smem + P::kVScaleAt + q_at.stage * P::kVScaleBytes, a.v_scale + kv_head * P::kHeadDim,
                             P::kVScaleBytes, barrier.q_full(q_at.stage));
    q_at.advance();
    index = atomicAdd(a.work_counter, 1);  // its latency hides behind this item's tiles

    P::Tiles::produce(p, item, shared, smem, barrier, at);
  }
}

// Normalises and writes a thread's two rows. Rows without a key are zeros with an LSE of -inf.
template <class P, DType T>
__device__ __forceinline__ void wgmma_store(const WgmmaParams& p, const WgmmaItem& item, const float* v_scale,
                                            const WgmmaConsumer<P>& c) {
  const AttentionArgs& a = p.a;
  using E = Element<T>;
  const int quad_lane = c.lane & 3;
  const int64_t head = static_cast<int64_t>(item.batch) * a.heads_q + item.head;
  float sum[2], inverse[2];
  bool valid[2];
  typename E::type* target[2];
#pragma unroll
  for (int r = 0; r < 2; r++) {
    // The ones column is channel D: quad lane 0, first of its two values.
    sum[r] = __shfl_sync(kFullWarp, c.out[P::kVRows / 2 - 4 + 2 * r], c.lane & 28);
    inverse[r] = sum[r] == 0.f ? 0.f : 1.f / sum[r];  // a NaN stays one
    const int row = item.first_row + c.warp_row + (c.lane >> 2) + 8 * r;
    valid[r] = row < a.lq;
    target[r] = static_cast<typename E::type*>(a.o) + item.batch * a.o_stride.batch + item.head * a.o_stride.head +
                row * a.o_stride.row + 2 * quad_lane;
    if (a.lse != nullptr && quad_lane == 0 && valid[r]) {
      // The second half of q_scale holds q . mean(k), which the shifted scores lack.
      const int64_t padded = head * a.lq_padded + row;
      const float shift = a.k_mean ? a.q_scale[padded + static_cast<int64_t>(a.batch) * a.heads_q * a.lq_padded] : 0.f;
      a.lse[head * a.lq + row] = sum[r] == 0.f ? -kInfinity : kLn2 * (c.reference[r] + log2f(sum[r]) + shift);
    }
  }
#pragma unroll
  for (int i = 0; i < P::kHeadDim / 8; i++) {
    if (8 * i >= a.head_dim) break;
    const float2 s = reinterpret_cast<const float2*>(v_scale)[4 * i + quad_lane];
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const uint32_t two =
          E::pack(c.out[4 * i + 2 * r] * inverse[r] * s.x, c.out[4 * i + 2 * r + 1] * inverse[r] * s.y);
      if (valid[r]) *reinterpret_cast<uint32_t*>(target[r] + 8 * i) = two;
    }
  }
}

template <class P, DType T>
__device__ __forceinline__ void wgmma_consume(const WgmmaParams& p, unsigned char* shared, uint32_t smem,
                                              WgmmaBarriers<P> barrier, int warpgroup) {
  const auto* items = reinterpret_cast<const volatile WgmmaItem*>(shared + P::kItemAt);
  WgmmaConsumer<P> c;
  c.smem = smem;
  c.barrier = barrier;
  c.lane = threadIdx.x & 31;
  const int warp_row = warpgroup * 64 + __shfl_sync(kFullWarp, threadIdx.x >> 5 & 3, 0) * 16;
  c.warp_row = warp_row;
  const uint32_t q_smem = smem + P::kQAt + warpgroup * 64 * P::kHeadDim;
  c.round = 0;
  ptx::mbarrier_wait(barrier.q_full(0), 0);
  int tiles = items[0].tiles;
  c.begin(q_smem, tiles);
  c.finish_begin();
  while (tiles >= 0) {
    {
      const uint32_t buffer = c.round & 1;
      const float* q_scale =
          reinterpret_cast<const float*>(shared + P::kQScaleAt + buffer * P::kQScaleBytes) + warp_row + (c.lane >> 2);
      c.q_scale[0] = q_scale[0];
      c.q_scale[1] = q_scale[8];
      if (tiles > 0) {
        c.attend(q_smem + buffer * P::kQBytes, tiles);
      } else {
#pragma unroll
        for (int i = 0; i < P::kVRows / 2; i++) c.out[i] = 0.f;
      }
    }
    const uint32_t done = c.round & 1, next = done ^ 1;
    c.round++;
    ptx::mbarrier_wait(barrier.q_full(next), c.round >> 1 & 1);
    tiles = items[next].tiles;
    c.begin(q_smem + next * P::kQBytes, tiles);
    WgmmaItem item;  // only now: the main loop has no register for it
    item.batch = items[done].batch, item.head = items[done].head, item.first_row = items[done].first_row;
    const float* v_scale = reinterpret_cast<const float*>(shared + P::kVScaleAt + done * P::kVScaleBytes);
    wgmma_store<P, T>(p, item, v_scale, c);
    __syncwarp();  // all lanes have read the scales before one of them gives the buffer back
    c.release(barrier.q_empty(done));
    c.finish_begin();
  }
}

template <class P, DType T>
__global__ void __launch_bounds__(P::kThreads, 1) wgmma_attention(const __grid_constant__ WgmmaParams p) {
  extern __shared__ __align__(128) unsigned char shared[];
  const uint32_t smem = ptx::shared_address(shared);
  const WgmmaBarriers<P> barrier{smem + P::kBarrierAt};
  // The shuffle tells the compiler that the warpgroup's number is the same in all lanes.
  const int warpgroup = __shfl_sync(kFullWarp, threadIdx.x / 128, 0);
  if (threadIdx.x == 0) {
    for (int s = 0; s < P::kStages; s++) {
      ptx::mbarrier_init(barrier.k_full(s), 1);
      ptx::mbarrier_init(barrier.v_full(s), 1);
      ptx::mbarrier_init(barrier.k_empty(s), 4 * P::kConsumers);  // one arrival per consumer warp
      ptx::mbarrier_init(barrier.v_empty(s), 4 * P::kConsumers);
    }
    for (int s = 0; s < 2; s++) {
      ptx::mbarrier_init(barrier.q_full(s), 1);
      ptx::mbarrier_init(barrier.q_empty(s), 4 * P::kConsumers);
    }
    ptx::fence_mbarrier_init();
  }
  __syncthreads();
  if (warpgroup == 0) {
    ptx::setmaxnreg_dec<P::kProducerRegs>();
    if (threadIdx.x == 0) wgmma_produce<P>(p, shared, smem, barrier);
  } else {
    ptx::setmaxnreg_inc<P::kConsumerRegs>();
    ptx::griddepcontrol_wait();  // for the shifts of the LSE, read with ordinary loads
    wgmma_consume<P, T>(p, shared, smem, barrier, warpgroup - 1);
  }
}

template <class P, DType T>
cudaError_t wgmma_launch(const AttentionArgs& a, cudaStream_t stream) {
  int device = 0, multiprocessors = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
  }
  if (error == cudaSuccess) {
    error = cudaFuncSetAttribute(wgmma_attention<P, T>, cudaFuncAttributeMaxDynamicSharedMemorySize, P::kSmemBytes);
  }
  if (error != cudaSuccess) return error;
  // Half of the smallest Hopper L2 (50 MB): K and V of one section stay there beside what streams through.
  constexpr int64_t kSectionBytes = 24 << 20;
  const int64_t kv_bytes = static_cast<int64_t>(a.lk_padded) * (2 * P::kHeadDim + 8) / a.group;
  const int heads = a.batch * a.heads_q;
  const int64_t fitting = kv_bytes > 0 ? kSectionBytes / kv_bytes : heads;
  WgmmaParams p;
  p.a = a;
  p.query_blocks = (a.lq + P::kRows - 1) / P::kRows;
  p.items = heads * p.query_blocks;
  p.section_heads = static_cast<int>(fitting < 1 ? 1 : fitting < heads ? fitting : heads);

  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(p.items < multiprocessors ? p.items : multiprocessors);
  config.blockDim = dim3(P::kThreads);
  config.dynamicSmemBytes = P::kSmemBytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, wgmma_attention<P, T>, p);
}

// Reads the workspace that enqueue_sm90_prepass (quant/fp8_prepass.h) writes, on the same stream. o must allow 4-byte
// stores: an even head_dim, even strides and a 4-byte aligned base.
template <int kD>
struct WgmmaDensePolicy : WgmmaPolicy<kD> {
  using Tiles = WgmmaAllTiles<WgmmaDensePolicy>;
};

template <int kD, DType T>
struct WgmmaInt8Fp8 {
  using Policy = WgmmaDensePolicy<kD>;
  static cudaError_t launch(const AttentionArgs& args, cudaStream_t stream) {
    return wgmma_launch<Policy, T>(args, stream);
  }
  static KernelEntry entry(const char* name) {
    return {Family::kWgmmaInt8Fp8, kD, T, Policy::kKeys, Policy::kRows, name, &launch};
  }
};

}  // namespace attn4j
