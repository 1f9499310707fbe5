// device/ptx/ldmatrix.cuh, emulated.
#pragma once

#include "matrix.h"

namespace attn4j::ptx {

inline void ldmatrix_x4(uint32_t (&r)[4], uint32_t smem) { ::emulation::ldmatrix_x4(r, smem, false); }
inline void ldmatrix_x4_trans(uint32_t (&r)[4], uint32_t smem) { ::emulation::ldmatrix_x4(r, smem, true); }

}  // namespace attn4j::ptx
