// device/ptx/wgmma_f16.cuh, emulated.
#pragma once

#include "device/ptx/wgmma.cuh"

namespace attn4j::ptx {

template <int N>
using WgmmaF16 = EmulatedWgmma<::emulation::MatrixType::kF16, float, N>;

}  // namespace attn4j::ptx
