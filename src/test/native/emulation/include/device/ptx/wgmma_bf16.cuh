// device/ptx/wgmma_bf16.cuh, emulated.
#pragma once

#include "device/ptx/wgmma.cuh"

namespace attn4j::ptx {

template <int N>
using WgmmaBf16 = EmulatedWgmma<::emulation::MatrixType::kBf16, float, N>;

}  // namespace attn4j::ptx
