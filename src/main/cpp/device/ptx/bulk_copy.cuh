// The copy engine's contiguous copies (sm_90) and programmatic dependent launch.
#pragma once

#include <cstdint>

namespace attn4j::ptx {

// Global to shared memory; completion is counted in bytes on `barrier`. Addresses and size are multiples of 16.
__device__ __forceinline__ void bulk_copy_to_shared(uint32_t destination, const void* source, uint32_t bytes,
                                                    uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(destination),
      "l"(source), "r"(bytes), "r"(barrier)
      : "memory");
}

// Waits until the kernels that this launch depends on have finished and their writes are visible. A launch without the
// programmatic attribute returns at once.
__device__ __forceinline__ void griddepcontrol_wait() { asm volatile("griddepcontrol.wait;" ::: "memory"); }

// Lets the next kernel of the stream start before this one ends, once every CTA has said so or ended.
__device__ __forceinline__ void griddepcontrol_launch_dependents() {
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
}

}  // namespace attn4j::ptx
