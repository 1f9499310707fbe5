// INT8 Q K^T, FP8 P V attention on Hopper, many consumer warpgroups with little each: an experiment beside
// attend_wgmma.cuh, whose images and work order it shares. O lives in shared memory, and a tile is one score buffer.
#pragma once

#include "attention/attend_wgmma.cuh"
#include "attention/attend_wgmma_wide_consumer.cuh"

namespace attn4j {

template <class P>
__device__ __forceinline__ void wide_produce(const WgmmaParams& p, unsigned char* shared, uint32_t smem,
                                             WideBarriers<P> barrier) {
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
    const uint32_t q_full = barrier.q_full(q_at.stage);
    ptx::mbarrier_arrive_expect_tx(q_full, P::kQBytes + P::kQScaleBytes + P::kVScaleBytes);
    ptx::bulk_copy_to_shared(smem + P::kQAt + q_at.stage * P::kQBytes, a.q_image + q_row * P::kHeadDim, P::kQBytes,
                             q_full);
    ptx::bulk_copy_to_shared(smem + P::kQScaleAt + q_at.stage * P::kQScaleBytes, a.q_scale + q_row, P::kQScaleBytes,
                             q_full);
    const int64_t kv_head = item.batch * a.heads_kv + item.head / a.group;
    ptx::bulk_copy_to_shared(smem + P::kVScaleAt + q_at.stage * P::kVScaleBytes, a.v_scale + kv_head * P::kHeadDim,
                             P::kVScaleBytes, q_full);
    q_at.advance();
    index = atomicAdd(a.work_counter, 1);

    int64_t key = kv_head * a.lk_padded + static_cast<int64_t>(item.tiles) * P::kKeys;
#pragma unroll 1
    for (int left = item.tiles; left > 0; left--) {
      if constexpr (P::kRandomDelay) random_delay();
      key -= P::kKeys;
      const uint32_t full = barrier.full(at.stage);
      ptx::mbarrier_wait(barrier.empty(at.stage), at.parity ^ 1);
      ptx::mbarrier_arrive_expect_tx(full, P::kKBytes + P::kScaleBytes + P::kVBytes);
      ptx::bulk_copy_to_shared(smem + P::kKAt + at.stage * P::kKBytes, a.k_image + key * P::kHeadDim, P::kKBytes, full);
      ptx::bulk_copy_to_shared(smem + P::kScaleAt + at.stage * P::kScaleBytes, a.k_scale + key / 8, P::kScaleBytes,
                               full);
      ptx::bulk_copy_to_shared(smem + P::kVAt + at.stage * P::kVBytes, a.v_image + key * P::kVRows, P::kVBytes, full);
      at.advance();
    }
  }
}

// Normalises and writes a thread's two rows. Rows without a key are zeros with an LSE of -inf.
template <class P, DType T>
__device__ __forceinline__ void wide_store(const WgmmaParams& p, const WgmmaItem& item, const float* v_scale,
                                           const WideConsumer<P>& c) {
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
    sum[r] = __shfl_sync(kFullWarp, c.part[P::kVRows / 2 - 4 + 2 * r], c.lane & 28);
    inverse[r] = sum[r] == 0.f ? 0.f : 1.f / sum[r];  // a NaN stays one
    const int row = item.first_row + c.warp_row + (c.lane >> 2) + 8 * r;
    valid[r] = row < a.lq;
    target[r] = static_cast<typename E::type*>(a.o) + item.batch * a.o_stride.batch + item.head * a.o_stride.head +
                row * a.o_stride.row + 2 * quad_lane;
    if (a.lse != nullptr && quad_lane == 0 && valid[r]) {
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
          E::pack(c.part[4 * i + 2 * r] * inverse[r] * s.x, c.part[4 * i + 2 * r + 1] * inverse[r] * s.y);
      if (valid[r]) *reinterpret_cast<uint32_t*>(target[r] + 8 * i) = two;
    }
  }
}

template <class P, DType T>
__device__ __forceinline__ void wide_consume(const WgmmaParams& p, unsigned char* shared, uint32_t smem,
                                             WideBarriers<P> barrier, int warpgroup) {
  const auto* items = reinterpret_cast<const volatile WgmmaItem*>(shared + P::kItemAt);
  WideConsumer<P> c;
  c.smem = smem;
  c.barrier = barrier;
  c.lane = threadIdx.x & 31;
  c.warpgroup = warpgroup;
  c.warp_row = warpgroup * 64 + __shfl_sync(kFullWarp, threadIdx.x >> 5 & 3, 0) * 16;
  c.round = 0;
  int tiles, skip;
  c.look(0, tiles, skip);
  c.start(0, tiles, skip);
  while (tiles >= 0) {
    bool started = false;
    int next_tiles, next_skip;
    if (tiles > 0) {
      c.attend(tiles, next_tiles, next_skip, started);
    } else {
#pragma unroll
      for (int i = 0; i < P::kVRows / 2; i++) c.part[i] = 0.f;
      c.look(c.round + 1, next_tiles, next_skip);
    }
    const uint32_t done = c.round & 1;
    WgmmaItem item;
    item.batch = items[done].batch, item.head = items[done].head, item.first_row = items[done].first_row;
    const float* v_scale = reinterpret_cast<const float*>(shared + P::kVScaleAt + done * P::kVScaleBytes);
    wide_store<P, T>(p, item, v_scale, c);
    __syncwarp();
    c.release(barrier.q_empty(done));
    c.round++;
    tiles = next_tiles;
    if (!started) c.start(c.round, tiles, next_skip);
  }
}

template <class P, DType T>
__global__ void __launch_bounds__(P::kThreads, 1) wide_attention(const __grid_constant__ WgmmaParams p) {
  extern __shared__ __align__(128) unsigned char shared[];
  const uint32_t smem = ptx::shared_address(shared);
  const WideBarriers<P> barrier{smem + P::kBarrierAt};
  const int warpgroup = __shfl_sync(kFullWarp, threadIdx.x / 128, 0);
  if (threadIdx.x == 0) {
    for (int s = 0; s < P::kStages; s++) {
      ptx::mbarrier_init(barrier.full(s), 1);
      ptx::mbarrier_init(barrier.empty(s), 4 * P::kConsumers);  // one arrival per consumer warp
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
    if (threadIdx.x == 0) wide_produce<P>(p, shared, smem, barrier);
  } else {
    ptx::setmaxnreg_inc<P::kConsumerRegs>();
    ptx::griddepcontrol_wait();  // for the shifts of the LSE, read with ordinary loads
    wide_consume<P, T>(p, shared, smem, barrier, warpgroup - 1);
  }
}

template <class P, DType T>
cudaError_t wide_launch(const AttentionArgs& a, cudaStream_t stream) {
  int device = 0, multiprocessors = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device);
  }
  if (error == cudaSuccess) {
    error = cudaFuncSetAttribute(wide_attention<P, T>, cudaFuncAttributeMaxDynamicSharedMemorySize, P::kSmemBytes);
  }
  if (error != cudaSuccess) return error;
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
  return cudaLaunchKernelEx(&config, wide_attention<P, T>, p);
}

}  // namespace attn4j
