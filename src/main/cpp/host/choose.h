// Which kernel sageattn runs: an estimate of the time each would take, from rates that were measured.
#pragma once

#include <array>

#include "attn4j/attn4j.h"
#include "host/kernels.h"

namespace attn4j {

enum class SageChoice { kExact, kInt8Fp8, kInt8F16 };

// The choice that is never refused for another: it serves, or says why not.
constexpr SageChoice kLastSageChoice = SageChoice::kInt8F16;

// In order of preference; the first that supports the request serves it. `shape` is the validated request.
std::array<SageChoice, 3> sage_choices(const AttentionParams& params, const AttentionArgs& shape);

}  // namespace attn4j
