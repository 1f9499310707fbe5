// The items of one consumer warpgroup with O in registers, one after the other; the next one's first scores are
// computed while an output is written.
#pragma once

#include "attention/fp8_wgmma/combine.cuh"
#include "attention/fp8_wgmma/consumer.cuh"
#include "attention/fp8_wgmma/store.cuh"

namespace attn4j {

template <class P, DType T>
__device__ __forceinline__ void wgmma_consume(const WgmmaParams& p, unsigned char* shared, int warpgroup) {
  const uint32_t smem = ptx::shared_address(shared);
  const WgmmaBarriers<P> barrier{smem + P::Map::kBarrierAt};
  const auto* items = reinterpret_cast<const volatile WgmmaItem*>(shared + P::Map::kItemAt);
  WgmmaConsumer<P> c;
  c.smem = smem;
  c.barrier = barrier;
  c.lane = threadIdx.x & 31;
  const int warp_row = warpgroup * 64 + __shfl_sync(kFullWarp, threadIdx.x >> 5 & 3, 0) * 16;
  c.warp_row = warp_row;
  WgmmaSuspects<P, T>(smem, warp_row).clear();
  const uint32_t q_smem = smem + P::Map::kQAt + warpgroup * 64 * P::kHeadDim;
  c.round = 0;
  ptx::mbarrier_wait(barrier.q_full(0), 0);
  int tiles = items[0].tiles;
  c.begin(q_smem, tiles);
  c.finish_begin();
  while (tiles >= 0) {
    {
      const uint32_t buffer = c.round & 1;
      const float* q_scale =
          reinterpret_cast<const float*>(shared + P::Map::kQScaleAt + buffer * P::Map::kQScaleBytes) + warp_row +
          (c.lane >> 2);
      c.q_scale[0] = q_scale[0];
      c.q_scale[1] = q_scale[8];
      if (tiles > 0) {
        c.attend(q_smem + buffer * P::Map::kQBytes, tiles);
      } else {
#pragma unroll
        for (int i = 0; i < P::kVRows / 2; i++) c.out[i] = 0.f;
      }
    }
    const uint32_t done = c.round & 1, next = done ^ 1;
    c.round++;
    ptx::mbarrier_wait(barrier.q_full(next), c.round >> 1 & 1);
    tiles = items[next].tiles;
    c.begin(q_smem + next * P::Map::kQBytes, tiles);
    WgmmaItem item;  // only now: the main loop has no register for it
    item.batch = items[done].batch, item.head = items[done].head, item.first_row = items[done].first_row;
    const int partial = items[done].partial;
    const float* v_scale = reinterpret_cast<const float*>(shared + P::Map::kVScaleAt + done * P::Map::kVScaleBytes);
    if ((partial < 0 || wgmma_combine<P>(p, partial, c)) && !wgmma_store<P, T>(p, item, v_scale, c)) {
      WgmmaSuspects<P, T>(smem, warp_row).note(p, item);
    }
    __syncwarp();  // all lanes have read the scales before one of them gives the buffer back
    c.release(barrier.q_empty(done));
    c.finish_begin();
  }
  WgmmaSuspects<P, T>(smem, warp_row).repair(p, warp_row);
}

}  // namespace attn4j
