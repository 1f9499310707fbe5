// device/ptx/ordering.cuh, emulated: threads of the emulation keep the order of their source.
#pragma once

#include <cstdint>

#include "machine.h"

namespace attn4j::ptx {

inline void finish_first(float x, uint32_t) {
  if (x < 0.f) ::emulation::fail("finish_first: %g is negative: the store would happen", static_cast<double>(x));
}
inline int thread_index() { return static_cast<int>(::emulation::self->index.x); }

}  // namespace attn4j::ptx
