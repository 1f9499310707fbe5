// Why a kernel doesn't serve a request, as facts. The sentence is made of them, never read.
#pragma once

#include <cstdint>

#include "attn4j/attn4j.h"

namespace attn4j {

// Beside a causal mask FP8 alone hides keys, and sageattn doesn't take it for less: exact_attn is the better one then.
constexpr int32_t kLeastHiddenKeys = 1024;

using RefusalKind = RefusalReason;

struct Refusal {
  RefusalReason kind = RefusalReason::kNone;
  int64_t found = 0, accepted = 0;

  explicit operator bool() const { return kind != RefusalReason::kNone; }
};

// kUnsupported, with the sentence; kOk for kNone. `function` is what the caller asked for.
Status report(const Refusal& refusal, const char* function);

}  // namespace attn4j
