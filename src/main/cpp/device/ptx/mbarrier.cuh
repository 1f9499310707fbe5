// Shared-memory barriers that count arrivals and bytes (sm_90), and the fences that go with them. Addresses are 32-bit
// shared-memory addresses.
#pragma once

#include <cstdint>

namespace attn4j::ptx {

// Lanes of a warp that arrive when the warp is done with a stage. One speaks for all; compute-sanitizer's racecheck
// believes none for another, and wants a build with 32 (docs/hopper.md, "Barriers").
#ifndef ATTN4J_ARRIVING_LANES
#define ATTN4J_ARRIVING_LANES 1
#endif
constexpr int kArrivingLanes = ATTN4J_ARRIVING_LANES;

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

__device__ __forceinline__ void mbarrier_init(uint32_t barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

// Makes initialised barriers visible to the copy engine.
__device__ __forceinline__ void fence_mbarrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void mbarrier_arrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// Arrives and announces `bytes` that bulk copies will add before the phase completes.
__device__ __forceinline__ void mbarrier_arrive_expect_tx(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

// Waits for the completion of the phase of the given parity.
__device__ __forceinline__ void mbarrier_wait(uint32_t barrier, uint32_t parity) {
  asm volatile(
      "{.reg .pred P; WAIT: mbarrier.try_wait.parity.shared::cta.b64 P, [%0], %1; "
      "@P bra DONE; bra WAIT; DONE:}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

// One look at the phase: nonzero if it is complete. mbarrier_finish_wait then waits if it was not. Asking early hides
// the latency of the answer.
__device__ __forceinline__ uint32_t mbarrier_try_wait(uint32_t barrier, uint32_t parity) {
  uint32_t done;
  asm volatile("{.reg .pred P; mbarrier.try_wait.parity.shared::cta.b64 P, [%1], %2; selp.u32 %0, 1, 0, P;}"
               : "=r"(done)
               : "r"(barrier), "r"(parity)
               : "memory");
  return done;
}

__device__ __forceinline__ void mbarrier_finish_wait(uint32_t barrier, uint32_t parity, uint32_t done) {
  asm volatile(
      "{.reg .pred P; setp.ne.u32 P, %2, 0; @P bra DONE; "
      "WAIT: mbarrier.try_wait.parity.shared::cta.b64 P, [%0], %1; @P bra DONE; bra WAIT; DONE:}" ::"r"(barrier),
      "r"(parity), "r"(done)
      : "memory");
}

// Orders this thread's ordinary shared-memory accesses before later ones by the copy engine and the tensor cores.
__device__ __forceinline__ void fence_proxy_async_shared() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Hardware barrier `id` (1..15; 0 is __syncthreads) over `threads` threads, a multiple of 32.
__device__ __forceinline__ void named_barrier_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

__device__ __forceinline__ void named_barrier_arrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// Whether `mine` holds in any of the threads that meet.
__device__ __forceinline__ bool named_barrier_any(int id, int threads, bool mine) {
  int any;
  asm volatile(
      "{\n"
      "  .reg .pred p, q;\n"
      "  setp.ne.s32 q, %3, 0;\n"
      "  bar.red.or.pred p, %1, %2, q;\n"
      "  selp.s32 %0, 1, 0, p;\n"
      "}"
      : "=r"(any)
      : "r"(id), "r"(threads), "r"(static_cast<int>(mine))
      : "memory");
  return any != 0;
}

}  // namespace attn4j::ptx
