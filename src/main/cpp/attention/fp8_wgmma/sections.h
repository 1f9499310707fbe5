// The order in which the Hopper kernel takes the heads, as its quantisation needs to know it.
#pragma once

#include <cstdint>

#include "attention/arguments.h"

namespace attn4j {

// Query heads whose K and V images share the L2 cache. Their items are worked on together.
inline int32_t wgmma_section_heads(const AttentionArgs& a, int32_t compiled_d) {
  // Half of the smallest Hopper L2 (50 MB): K and V of one section stay there beside what streams through.
  constexpr int64_t kSectionBytes = 24 << 20;
  const int64_t kv_bytes = static_cast<int64_t>(a.lk_padded) * (2 * compiled_d + 8) / a.group;
  const int32_t heads = a.batch * a.heads_q;
  const int64_t fitting = kv_bytes > 0 ? kSectionBytes / kv_bytes : heads;
  return static_cast<int32_t>(fitting < 1 ? 1 : fitting < heads ? fitting : heads);
}

}  // namespace attn4j
