// Accesses to global memory that must stay what they are: ptxas splits a 16-byte store whose registers it didn't align.
#pragma once

#include <cstdint>

namespace attn4j::ptx {

__device__ __forceinline__ void store_global_words4(void* address, const uint4& x) {
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(address), "r"(x.x), "r"(x.y), "r"(x.z), "r"(x.w)
               : "memory");
}

}  // namespace attn4j::ptx
