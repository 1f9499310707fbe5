// device/ptx/tma.cuh, emulated.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "machine.h"

namespace attn4j::ptx {

struct BoxOrigin {
  int32_t channel, row, head, batch;
};

inline void tma_load_box(uint32_t destination, const CUtensorMap& map, const BoxOrigin& at, uint32_t barrier) {
  ::emulation::EngineCopy copy;
  copy.target = destination, copy.barrier = barrier, copy.map = &map;
  copy.origin[0] = at.channel, copy.origin[1] = at.row, copy.origin[2] = at.head, copy.origin[3] = at.batch;
  ::emulation::start_copy(copy);
}
inline void tma_prefetch_map(const CUtensorMap&) {}

}  // namespace attn4j::ptx
