// device/ptx/shared_access.cuh, emulated.
#pragma once

#include <vector_functions.h>

#include <cstdint>

#include "machine.h"

namespace attn4j::ptx {

inline float load_shared(uint32_t address) { return ::emulation::load_shared<float>(address, "ld.shared"); }
inline int32_t load_shared_int(uint32_t address) { return ::emulation::load_shared<int32_t>(address, "ld.shared"); }
inline float2 load_shared2(uint32_t address) { return ::emulation::load_shared<float2>(address, "ld.shared"); }
inline float4 load_shared4(uint32_t address) { return ::emulation::load_shared<float4>(address, "ld.shared"); }
inline uint2 load_shared_words2(uint32_t address) { return ::emulation::load_shared<uint2>(address, "ld.shared"); }
inline uint4 load_shared_words4(uint32_t address) { return ::emulation::load_shared<uint4>(address, "ld.shared"); }

template <class T>
inline T again(const T& x) {
  return *const_cast<const volatile T*>(&x);
}

inline void store_shared(uint32_t address, float x) { ::emulation::store_shared(address, x, "st.shared"); }
inline void store_shared_int(uint32_t address, int32_t x) { ::emulation::store_shared(address, x, "st.shared"); }
inline void store_shared2(uint32_t address, float2 x) { ::emulation::store_shared(address, x, "st.shared"); }
inline void store_shared4(uint32_t address, float4 x) { ::emulation::store_shared(address, x, "st.shared"); }

}  // namespace attn4j::ptx
