// device/ptx/global_access.cuh, emulated.
#pragma once

#include <cstdint>
#include <cstring>

#include "machine.h"

namespace attn4j::ptx {

inline void store_global_words4(void* address, const uint4& x) {
  if (reinterpret_cast<uintptr_t>(address) % 16 != 0) ::emulation::fail("st.global.v4: %p isn't aligned", address);
  std::memcpy(address, &x, sizeof x);
}

}  // namespace attn4j::ptx
