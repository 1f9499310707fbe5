// Keeping ptxas from moving arithmetic across a wait.
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

}  // namespace attn4j::ptx
