// Keeping ptxas from moving arithmetic across a wait, and values in registers.
#pragma once

#include <cstdint>

namespace attn4j::ptx {

// Everything that `x` depends on is computed before what follows. `x` must never be negative (NaN is fine): the store
// that depends on it never happens, but ptxas has to issue it in order. `address` is any shared-memory address.
__device__ __forceinline__ void finish_first(float x, uint32_t address) {
  asm volatile(
      "{.reg .pred negative; setp.lt.f32 negative, %0, 0f00000000; @negative st.shared.u32 [%1], %1;}" ::"f"(x),
      "r"(address)
      : "memory");
}

// threadIdx.x, read where it stands: what is computed from it needs no register in between.
__device__ __forceinline__ int thread_index() {
  int x;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(x));
  return x;
}

}  // namespace attn4j::ptx
