// Counters in global memory by which CTAs, also of two kernels, tell each other what is done.
#pragma once

#include <cstdint>

namespace attn4j::ptx {

// Adds to a counter after all that this thread, and threads it has met at a barrier, wrote before.
__device__ __forceinline__ void add_release(int32_t* counter, int32_t x) {
  asm volatile("red.release.gpu.global.add.s32 [%0], %1;" ::"l"(counter), "r"(x) : "memory");
}

// The same, with the value before; also orders later reads after what others wrote before they added.
__device__ __forceinline__ int32_t fetch_add_acq_rel(int32_t* counter, int32_t x) {
  int32_t old;
  asm volatile("atom.acq_rel.gpu.global.add.s32 %0, [%1], %2;" : "=r"(old) : "l"(counter), "r"(x) : "memory");
  return old;
}

__device__ __forceinline__ int32_t load_acquire(const int32_t* counter) {
  int32_t x;
  asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(x) : "l"(counter) : "memory");
  return x;
}

// Orders ordinary accesses to global memory before later ones by the copy engine.
__device__ __forceinline__ void fence_proxy_async_global() { asm volatile("fence.proxy.async.global;" ::: "memory"); }

}  // namespace attn4j::ptx
