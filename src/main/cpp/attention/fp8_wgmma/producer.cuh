// The producer thread of the Hopper kernel: hands out items and copies their images.
#pragma once

#include "attention/fp8_wgmma/item.cuh"
#include "device/ptx/bulk_copy.cuh"
#include "device/ptx/global_sync.cuh"

namespace attn4j {

// The next unit of work of a producer, drawn before it copies the last stage of an item: the latency hides behind the
// stages that the consumers still have. Not before, since a CTA that starts early would take two units where there may
// be but one for each.
struct WgmmaTicket {
  int32_t* counter;
  int unit;
  __device__ __forceinline__ void draw() { unit = atomicAdd(counter, 1); }
};

// Copies all tiles of an item, the last keys first.
template <class P>
struct WgmmaAllTiles {
  static __device__ __forceinline__ void produce(const WgmmaParams& p, const WgmmaItem& item, unsigned char*,
                                                 uint32_t smem, WgmmaBarriers<P> barrier, RingPosition<P::kStages>& at,
                                                 WgmmaTicket& ticket) {
    const AttentionArgs& a = p.a;
    // One running key index addresses all three images: this warpgroup has few registers.
    const int64_t kv_head = item.batch * a.heads_kv + item.head / a.group;
    int64_t key = kv_head * a.lk_padded + static_cast<int64_t>(item.first_tile + item.tiles) * P::kKeys;
#pragma unroll 1
    for (int left = item.tiles; left > 0; left--) {
      if constexpr (P::kRandomDelay) random_delay();
      if (left == 1) ticket.draw();
      key -= P::kKeys;
      ptx::mbarrier_wait(barrier.k_empty(at.stage), at.parity ^ 1);
      ptx::mbarrier_arrive_expect_tx(barrier.k_full(at.stage), P::kFirstBytes);
      ptx::bulk_copy_to_shared(smem + P::Map::kKAt + at.stage * P::Map::kKBytes, a.k_image + key * P::kHeadDim,
                               P::Map::kKBytes, barrier.k_full(at.stage));
      ptx::bulk_copy_to_shared(smem + P::Map::kScaleAt + at.stage * P::Map::kScaleBytes, a.k_scale + key / 8,
                               P::Map::kScaleBytes, barrier.k_full(at.stage));
      if constexpr (!P::kWholeStages) {
        ptx::mbarrier_wait(barrier.v_empty(at.stage), at.parity ^ 1);
        ptx::mbarrier_arrive_expect_tx(barrier.v_full(at.stage), P::Map::kVBytes);
      }
      ptx::bulk_copy_to_shared(smem + P::Map::kVAt + at.stage * P::Map::kVBytes, a.v_image + key * P::kVRows,
                               P::Map::kVBytes, barrier.v_full(at.stage));
      at.advance();
    }
  }
};

// Waits until the pre-pass has written all that a head's items read, and lets the copy engine see it. Ordinary loads of
// the consumers see it too: they come after the barrier on which this thread announces the copies.
__device__ __forceinline__ void await_images(const AttentionArgs& a, int64_t kv_head) {
  while (ptx::load_acquire(a.images_done + kv_head) < a.images_wanted) {
  }
  ptx::fence_proxy_async_global();
}

template <class P>
__device__ __forceinline__ void wgmma_produce(const WgmmaParams& p, unsigned char* shared) {
  const AttentionArgs& a = p.a;
  const uint32_t smem = ptx::shared_address(shared);
  const WgmmaBarriers<P> barrier{smem + P::Map::kBarrierAt};
  auto* items = reinterpret_cast<WgmmaItem*>(shared + P::Map::kItemAt);
  RingPosition<P::kStages> at;
  RingPosition<2> q_at;
  // Kernels before: the selection of blocks, which knows no order of heads. Dense attention starts beside the pre-pass.
  if constexpr (P::kListed) ptx::griddepcontrol_wait();
  WgmmaTicket ticket{a.work_counter, 0};
  ticket.draw();
  while (true) {
    ptx::mbarrier_wait(barrier.q_empty(q_at.stage), q_at.parity ^ 1);
    if (ticket.unit >= a.split.units()) {
      items[q_at.stage].tiles = -1;
      ptx::mbarrier_arrive(barrier.q_full(q_at.stage));
      if constexpr (!P::kListed) ptx::griddepcontrol_wait();  // what comes after this kernel comes after the pre-pass
      return;
    }
    const WgmmaItem item = wgmma_item<P>(p, ticket.unit);
    if (item.is_nothing()) {
      ticket.draw();
      continue;
    }
    items[q_at.stage] = item;
    const int64_t kv_head = item.batch * a.heads_kv + item.head / a.group;
    if constexpr (!P::kListed) await_images(a, kv_head);
    const int64_t q_row = static_cast<int64_t>(item.batch * a.heads_q + item.head) * a.lq_padded + item.first_row;
    ptx::mbarrier_arrive_expect_tx(barrier.q_full(q_at.stage),
                                   P::Map::kQBytes + P::Map::kQScaleBytes + P::Map::kVScaleBytes);
    ptx::bulk_copy_to_shared(smem + P::Map::kQAt + q_at.stage * P::Map::kQBytes, a.q_image + q_row * P::kHeadDim,
                             P::Map::kQBytes, barrier.q_full(q_at.stage));
    ptx::bulk_copy_to_shared(smem + P::Map::kQScaleAt + q_at.stage * P::Map::kQScaleBytes, a.q_scale + q_row,
                             P::Map::kQScaleBytes, barrier.q_full(q_at.stage));
    ptx::bulk_copy_to_shared(smem + P::Map::kVScaleAt + q_at.stage * P::Map::kVScaleBytes,
                             a.v_scale + kv_head * v_scale_size(P::kHeadDim), P::Map::kVScaleBytes,
                             barrier.q_full(q_at.stage));
    q_at.advance();
    if (item.tiles == 0) ticket.draw();
    P::Tiles::produce(p, item, shared, smem, barrier, at, ticket);
  }
}

}  // namespace attn4j
