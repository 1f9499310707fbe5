// CUDA C++ for a host compiler: included before every source of the kernels. What needs the emulated GPU is a call of
// machine.h; the rest is arithmetic.
#pragma once

#include <cuda_runtime_api.h>
#include <vector_functions.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>

#include "machine.h"

// Shared memory that a kernel declares belongs to the OS thread that runs its CTA.
#undef __shared__
#define __shared__ thread_local
#define ATTN4J_DYNAMIC_SHARED(alignment, type, name) \
  type* const name = static_cast<type*>(::emulation::dynamic_shared(alignment))
#undef __launch_bounds__
#define __launch_bounds__(...)
#undef __grid_constant__
#define __grid_constant__
#undef __forceinline__
#define __forceinline__ inline
#undef __noinline__
#define __noinline__

// --------------------------------------------------------------------------------------------------------- arithmetic

template <class A, class B>
constexpr std::enable_if_t<std::is_arithmetic_v<A> && std::is_arithmetic_v<B>, std::common_type_t<A, B>> min(A a, B b) {
  return b < a ? static_cast<std::common_type_t<A, B>>(b) : static_cast<std::common_type_t<A, B>>(a);
}
template <class A, class B>
constexpr std::enable_if_t<std::is_arithmetic_v<A> && std::is_arithmetic_v<B>, std::common_type_t<A, B>> max(A a, B b) {
  return a < b ? static_cast<std::common_type_t<A, B>>(b) : static_cast<std::common_type_t<A, B>>(a);
}
using std::isfinite;
using std::isnan;

template <class To, class From>
inline To emulated_bits(From x) {
  static_assert(sizeof(To) == sizeof(From));
  To y;
  std::memcpy(&y, &x, sizeof y);
  return y;
}
inline float __uint_as_float(uint32_t x) { return emulated_bits<float>(x); }
inline float __int_as_float(int32_t x) { return emulated_bits<float>(x); }
inline uint32_t __float_as_uint(float x) { return emulated_bits<uint32_t>(x); }
inline int32_t __float_as_int(float x) { return emulated_bits<int32_t>(x); }

inline long long __double_as_longlong(double x) { return emulated_bits<long long>(x); }

inline float __int2float_rn(int32_t x) { return static_cast<float>(x); }
// Conversions saturate; NaN becomes 0 (PTX ISA, "cvt").
template <class To>
inline To emulated_to_int(double x) {
  if (std::isnan(x)) return 0;
  if (x <= static_cast<double>(std::numeric_limits<To>::min())) return std::numeric_limits<To>::min();
  if (x >= static_cast<double>(std::numeric_limits<To>::max())) return std::numeric_limits<To>::max();
  return static_cast<To>(x);
}
inline int32_t __float2int_rn(float x) { return emulated_to_int<int32_t>(std::nearbyint(static_cast<double>(x))); }
inline uint32_t __float2uint_rn(float x) { return emulated_to_int<uint32_t>(std::nearbyint(static_cast<double>(x))); }
inline uint32_t __float2uint_rd(float x) { return emulated_to_int<uint32_t>(std::floor(static_cast<double>(x))); }

// CUDA C++ Programming Guide, intrinsic functions: 0 for divisors from 2^126 on.
inline float __fdividef(float x, float y) {
  const float divisor = std::fabs(y);
  return divisor > 0x1p126f && divisor < 0x1p128 ? x * 0.f : x / y;
}
inline float cospif(float x) { return static_cast<float>(std::cos(3.14159265358979323846 * std::fmod(x, 2.f))); }
inline float rsqrtf(float x) { return 1.f / std::sqrt(x); }
#define __log2f(x) std::log2(static_cast<float>(x))
inline int __popc(uint32_t x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x == 0 ? 32 : __builtin_clz(static_cast<uint32_t>(x)); }

// PTX ISA, "prmt": a byte of {y, x} for each nibble, or its sign.
inline uint32_t __byte_perm(uint32_t x, uint32_t y, uint32_t selector) {
  const uint64_t both = static_cast<uint64_t>(y) << 32 | x;
  uint32_t result = 0;
  for (int i = 0; i < 4; i++) {
    const uint32_t nibble = selector >> (4 * i) & 15;
    uint32_t byte = static_cast<uint32_t>(both >> (8 * (nibble & 7))) & 0xff;
    if (nibble & 8) byte = byte & 0x80 ? 0xff : 0;
    result |= byte << (8 * i);
  }
  return result;
}
inline int32_t __vimax3_s32(int32_t a, int32_t b, int32_t c) { return max(max(a, b), c); }

// ------------------------------------------------------------------------------------------------------------- memory

template <class T>
inline T __ldg(const T* p) {
  return *p;
}
template <class T>
inline T __ldcg(const T* p) {
  __asm__ volatile("" ::: "memory");  // read where the source has it
  return *p;
}
template <class T>
inline void __stcg(T* p, T x) {
  *p = x;
  __asm__ volatile("" ::: "memory");
}
inline size_t __cvta_generic_to_shared(const void* p) { return ::emulation::shared_address(p); }
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline long long clock64() {
  static thread_local long long ticks = 0;
  return ++ticks;
}
inline void __nanosleep(unsigned) { ::emulation::yield(); }

template <class T>
inline T atomicAdd(T* p, std::common_type_t<T> x) {
  if constexpr (std::is_integral_v<T>) {
    return __atomic_fetch_add(p, x, __ATOMIC_SEQ_CST);
  } else {
    T old = *p, sum = old + x;
    while (!__atomic_compare_exchange(p, &old, &sum, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) sum = old + x;
    return old;
  }
}
template <class T>
inline T atomicMax(T* p, std::common_type_t<T> x) {
  T old = __atomic_load_n(p, __ATOMIC_SEQ_CST);
  while (old < x && !__atomic_compare_exchange_n(p, &old, x, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
  }
  return old;
}

// -------------------------------------------------------------------------------------------------------------- warps

inline void __syncthreads() { ::emulation::barrier_sync(0, 0, false); }
inline int __syncthreads_or(int predicate) { return ::emulation::barrier_sync(0, 0, predicate != 0) ? 1 : 0; }
inline void __syncwarp(uint32_t mask = 0xffffffffu) {
  int nothing = 0;
  ::emulation::in_warp("__syncwarp", mask, nothing, [](int**) {});
}

namespace emulation {

// What a lane of a shuffle brings, and takes away.
template <class T>
struct Shuffle {
  T value, result;
  int source;  // lane
};
template <class T>
inline T shuffle(const char* what, uint32_t mask, T value, int source) {
  Shuffle<T> mine{value, value, source};
  in_warp(what, mask, mine, [&](Shuffle<T>** lanes) {
    for (int i = 0; i < 32; i++) {
      if (!(mask >> i & 1)) continue;
      const int from = lanes[i]->source;
      if (!(mask >> from & 1)) fail("%s: lane %d reads lane %d, which isn't in the mask %08x", what, i, from, mask);
      lanes[i]->result = lanes[from]->value;
    }
  });
  return mine.result;
}

// Folds what the lanes bring; all take the result.
template <class T, class F>
inline T reduce(const char* what, uint32_t mask, T value, F fold) {
  in_warp(what, mask, value, [&](T** lanes) {
    const int first = __builtin_ctz(mask);
    T total = *lanes[first];
    for (int i = first + 1; i < 32; i++) {
      if (mask >> i & 1) total = fold(total, *lanes[i]);
    }
    for (int i = first; i < 32; i++) {
      if (mask >> i & 1) *lanes[i] = total;
    }
  });
  return value;
}

}  // namespace emulation

// Lanes outside the segment of `width` keep their own (CUDA programming guide, "Warp shuffle functions").
template <class T>
inline T __shfl_sync(uint32_t mask, T x, int source, int width = 32) {
  const int lane = ::emulation::self->lane;
  return ::emulation::shuffle("__shfl_sync", mask, x, (lane & ~(width - 1)) + (source & (width - 1)));
}
template <class T>
inline T __shfl_xor_sync(uint32_t mask, T x, int flip, int width = 32) {
  const int lane = ::emulation::self->lane, source = lane ^ flip;
  const bool inside = (source & ~(width - 1)) <= (lane & ~(width - 1));
  return ::emulation::shuffle("__shfl_xor_sync", mask, x, inside ? source : lane);
}
template <class T>
inline T __shfl_up_sync(uint32_t mask, T x, unsigned delta, int width = 32) {
  const int lane = ::emulation::self->lane, source = lane - static_cast<int>(delta);
  return ::emulation::shuffle("__shfl_up_sync", mask, x, source >= (lane & ~(width - 1)) ? source : lane);
}
template <class T>
inline T __shfl_down_sync(uint32_t mask, T x, unsigned delta, int width = 32) {
  const int lane = ::emulation::self->lane, source = lane + static_cast<int>(delta);
  return ::emulation::shuffle("__shfl_down_sync", mask, x, source < (lane & ~(width - 1)) + width ? source : lane);
}
inline unsigned __ballot_sync(uint32_t mask, int predicate) {
  const uint32_t mine = predicate ? 1u << ::emulation::self->lane : 0u;
  return ::emulation::reduce("__ballot_sync", mask, mine, [](uint32_t a, uint32_t b) { return a | b; });
}
inline int __any_sync(uint32_t mask, int predicate) {
  return ::emulation::reduce("__any_sync", mask, predicate != 0 ? 1 : 0, [](int a, int b) { return a | b; });
}
inline int __all_sync(uint32_t mask, int predicate) {
  return ::emulation::reduce("__all_sync", mask, predicate != 0 ? 1 : 0, [](int a, int b) { return a & b; });
}
template <class T>
inline T __reduce_max_sync(uint32_t mask, T x) {
  return ::emulation::reduce("__reduce_max_sync", mask, x, [](T a, T b) { return a < b ? b : a; });
}
template <class T>
inline T __reduce_min_sync(uint32_t mask, T x) {
  return ::emulation::reduce("__reduce_min_sync", mask, x, [](T a, T b) { return b < a ? b : a; });
}
template <class T>
inline T __reduce_add_sync(uint32_t mask, T x) {
  return ::emulation::reduce("__reduce_add_sync", mask, x, [](T a, T b) { return static_cast<T>(a + b); });
}
template <class T>
inline T __reduce_or_sync(uint32_t mask, T x) {
  return ::emulation::reduce("__reduce_or_sync", mask, x, [](T a, T b) { return static_cast<T>(a | b); });
}

// ----------------------------------------------------------------------------------------------------------- launches

template <class... Parameters>
inline cudaError_t cudaFuncSetAttribute(void (*kernel)(Parameters...), cudaFuncAttribute attribute, int value) {
  if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize) {
    ::emulation::allow_shared_memory(reinterpret_cast<const void*>(kernel), value);
  }
  return cudaSuccess;
}

template <class T>
inline cudaError_t cudaMalloc(T** address, size_t bytes) {
  return cudaMalloc(reinterpret_cast<void**>(address), bytes);
}

template <class... Parameters, class... Arguments>
inline cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                                      Arguments&&... arguments) {
  ::emulation::Launch launch;
  launch.ctas = config->gridDim, launch.threads = config->blockDim;
  launch.shared_bytes = config->dynamicSmemBytes;
  launch.kernel = reinterpret_cast<const void*>(kernel);
  const std::tuple<std::remove_const_t<Parameters>...> parameters(static_cast<Arguments&&>(arguments)...);
  launch.body = [&] { std::apply(kernel, parameters); };
  return static_cast<cudaError_t>(::emulation::run(launch));
}

#include <cuda_bf16.h>
#include <cuda_fp16.h>

// Of the 16-bit types' arithmetic, what the toolkit has for devices alone. Products are exact in double.
inline __half2 __hfma2(__half2 a, __half2 b, __half2 c) {
  const auto one = [](__half x, __half y, __half z) {
    return __double2half(static_cast<double>(__half2float(x)) * __half2float(y) + __half2float(z));
  };
  return __halves2half2(one(__low2half(a), __low2half(b), __low2half(c)),
                        one(__high2half(a), __high2half(b), __high2half(c)));
}
inline __nv_bfloat162 __hfma2(__nv_bfloat162 a, __nv_bfloat162 b, __nv_bfloat162 c) {
  const auto one = [](__nv_bfloat16 x, __nv_bfloat16 y, __nv_bfloat16 z) {
    return __double2bfloat16(static_cast<double>(__bfloat162float(x)) * __bfloat162float(y) + __bfloat162float(z));
  };
  return __halves2bfloat162(one(__low2bfloat16(a), __low2bfloat16(b), __low2bfloat16(c)),
                            one(__high2bfloat16(a), __high2bfloat16(b), __high2bfloat16(c)));
}
