// device/ptx/bulk_copy.cuh, emulated. Launches of a stream run one after another.
#pragma once

#include <cstdint>

#include "machine.h"

namespace attn4j::ptx {

inline void bulk_copy_to_shared(uint32_t destination, const void* source, uint32_t bytes, uint32_t barrier) {
  ::emulation::EngineCopy copy;
  copy.target = destination, copy.bytes = bytes, copy.barrier = barrier, copy.source = source;
  ::emulation::start_copy(copy);
}
inline void griddepcontrol_wait() {}
inline void griddepcontrol_launch_dependents() {}

}  // namespace attn4j::ptx
