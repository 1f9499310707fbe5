// device/ptx/wgmma_s8.cuh, emulated.
#pragma once

#include "device/ptx/wgmma.cuh"

namespace attn4j::ptx {

template <int N>
using WgmmaS8 = EmulatedWgmma<::emulation::MatrixType::kS8, int32_t, N>;

}  // namespace attn4j::ptx
