// Ordinary accesses to shared memory by 32-bit address, kept where the source has them: a value that a kernel has no
// register for is read again instead of being held.
#pragma once

#include <cstdint>

namespace attn4j::ptx {

__device__ __forceinline__ float load_shared(uint32_t address) {
  float x;
  asm volatile("ld.shared.f32 %0, [%1];" : "=f"(x) : "r"(address) : "memory");
  return x;
}

__device__ __forceinline__ int32_t load_shared_int(uint32_t address) {
  int32_t x;
  asm volatile("ld.shared.s32 %0, [%1];" : "=r"(x) : "r"(address) : "memory");
  return x;
}

__device__ __forceinline__ float2 load_shared2(uint32_t address) {
  float2 x;
  asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(x.x), "=f"(x.y) : "r"(address) : "memory");
  return x;
}

__device__ __forceinline__ float4 load_shared4(uint32_t address) {
  float4 x;
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
               : "r"(address)
               : "memory");
  return x;
}

// A variable in shared memory, read where the source has it: ptxas lifts an ordinary load out of a loop.
__device__ __forceinline__ int32_t again(const int32_t& x) {
  int32_t y;
  asm volatile("ld.volatile.shared.s32 %0, [%1];" : "=r"(y) : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(&x))));
  return y;
}

__device__ __forceinline__ float again(const float& x) {
  float y;
  asm volatile("ld.volatile.shared.f32 %0, [%1];" : "=f"(y) : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(&x))));
  return y;
}

// The same as words.
__device__ __forceinline__ uint2 load_shared_words2(uint32_t address) {
  const float2 x = load_shared2(address);
  return make_uint2(__float_as_uint(x.x), __float_as_uint(x.y));
}

__device__ __forceinline__ uint4 load_shared_words4(uint32_t address) {
  const float4 x = load_shared4(address);
  return make_uint4(__float_as_uint(x.x), __float_as_uint(x.y), __float_as_uint(x.z), __float_as_uint(x.w));
}

__device__ __forceinline__ void store_shared(uint32_t address, float x) {
  asm volatile("st.shared.f32 [%0], %1;" ::"r"(address), "f"(x) : "memory");
}

__device__ __forceinline__ void store_shared_int(uint32_t address, int32_t x) {
  asm volatile("st.shared.s32 [%0], %1;" ::"r"(address), "r"(x) : "memory");
}

__device__ __forceinline__ void store_shared2(uint32_t address, float2 x) {
  asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(address), "f"(x.x), "f"(x.y) : "memory");
}

__device__ __forceinline__ void store_shared4(uint32_t address, float4 x) {
  asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(address), "f"(x.x), "f"(x.y), "f"(x.z), "f"(x.w)
               : "memory");
}

}  // namespace attn4j::ptx
