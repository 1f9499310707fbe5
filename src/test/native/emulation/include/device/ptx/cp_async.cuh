// device/ptx/cp_async.cuh, emulated.
#pragma once

#include <cstdint>

#include "machine.h"

namespace attn4j::ptx {

inline void cp_async_16(uint32_t smem, const void* gmem) { ::emulation::copy_async({smem, gmem, 16}); }
inline void cp_async_16(uint32_t smem, const void* gmem, bool valid) {
  ::emulation::copy_async({smem, valid ? gmem : nullptr, 16});
}
inline void cp_async_commit() { ::emulation::commit_copies(); }
template <int kPending>
inline void cp_async_wait() {
  ::emulation::wait_copies(kPending);
}
inline uint32_t smem_address(const void* p) { return ::emulation::shared_address(p); }

}  // namespace attn4j::ptx
