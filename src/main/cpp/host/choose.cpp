#include "host/choose.h"

namespace attn4j {

std::array<SageChoice, 3> sage_choices(const AttentionParams&, const AttentionArgs&) {
  return {SageChoice::kInt8Fp8, SageChoice::kInt8F16, SageChoice::kInt8F16};
}

}  // namespace attn4j
