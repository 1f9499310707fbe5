// device/ptx/mbarrier.cuh, emulated. Fences between proxies do nothing: what they order is in order here.
#pragma once

#include <cstdint>

#include "machine.h"

namespace attn4j::ptx {

#ifndef ATTN4J_ARRIVING_LANES
#define ATTN4J_ARRIVING_LANES 1
#endif
constexpr int kArrivingLanes = ATTN4J_ARRIVING_LANES;

inline uint32_t shared_address(const void* p) { return ::emulation::shared_address(p); }
inline void mbarrier_init(uint32_t barrier, uint32_t arrivals) { ::emulation::mbarrier_init(barrier, arrivals); }
inline void fence_mbarrier_init() {}
inline void mbarrier_arrive(uint32_t barrier) { ::emulation::mbarrier_arrive(barrier, 0); }
inline void mbarrier_arrive_expect_tx(uint32_t barrier, uint32_t bytes) {
  ::emulation::mbarrier_arrive(barrier, bytes);
}
inline void mbarrier_wait(uint32_t barrier, uint32_t parity) { ::emulation::mbarrier_wait(barrier, parity); }
inline uint32_t mbarrier_try_wait(uint32_t barrier, uint32_t parity) {
  return ::emulation::mbarrier_is_complete(barrier, parity) ? 1 : 0;
}
inline void mbarrier_finish_wait(uint32_t barrier, uint32_t parity, uint32_t done) {
  if (done == 0) ::emulation::mbarrier_wait(barrier, parity);
}
inline void fence_proxy_async_shared() {}

inline void named_barrier_sync(int id, int threads) { ::emulation::barrier_sync(id, threads, false); }
inline void named_barrier_arrive(int id, int threads) { ::emulation::barrier_arrive(id, threads); }
inline bool named_barrier_any(int id, int threads, bool mine) { return ::emulation::barrier_sync(id, threads, mine); }

}  // namespace attn4j::ptx
