// device/ptx/global_sync.cuh, emulated. A thread that looks at a counter lets others run.
#pragma once

#include <cstdint>

#include "machine.h"

namespace attn4j::ptx {

inline void add_release(int32_t* counter, int32_t x) { __atomic_fetch_add(counter, x, __ATOMIC_SEQ_CST); }
inline int32_t fetch_add_acq_rel(int32_t* counter, int32_t x) {
  return __atomic_fetch_add(counter, x, __ATOMIC_SEQ_CST);
}
inline int32_t load_acquire(const int32_t* counter) {
  const int32_t x = __atomic_load_n(counter, __ATOMIC_SEQ_CST);
  ::emulation::yield();
  return x;
}
inline void fence_proxy_async_global() {}

}  // namespace attn4j::ptx
