// device/ptx/wgmma_e4m3.cuh, emulated.
#pragma once

#include "device/ptx/wgmma.cuh"

namespace attn4j::ptx {

template <int N>
using WgmmaE4m3 = EmulatedWgmma<::emulation::MatrixType::kE4m3, float, N>;

}  // namespace attn4j::ptx
