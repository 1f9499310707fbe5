// device/ptx/math.cuh, emulated. Approximations are exact but for one rounding.
#pragma once

#include <cmath>

namespace attn4j::ptx {

inline float flush(float x) { return std::fabs(x) < 1.17549435e-38f ? std::copysign(0.f, x) : x; }

inline float rcp_approx(float x) { return 1.f / x; }
inline float rcp_approx_ftz(float x) { return flush(1.f / flush(x)); }
inline float ex2_approx_ftz(float x) { return flush(std::exp2(flush(x))); }
inline float max_nan(float x, float y) { return std::isnan(x) || std::isnan(y) ? std::nanf("") : std::fmax(x, y); }

}  // namespace attn4j::ptx
