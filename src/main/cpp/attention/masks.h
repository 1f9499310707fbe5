// A request's masks as kernels are given them.
#pragma once

#include <cstdint>

#include "attn4j/attn4j.h"

namespace attn4j {

// A mask of (batch, query head, query, key); strides in elements, 0 where it repeats.
struct MaskTensor {
  const void* data = nullptr;  // null: no mask
  int64_t batch = 0, head = 0, row = 0, key = 0;
  MaskType type = MaskType::kSeen;
};

// The row sees a key if key - row is in [first, end), or the key is below `prefix`. The offset of positions is in it.
struct WindowBounds {
  static constexpr int32_t kFar = 1 << 30;  // beyond any key, small enough to add a row to
  int32_t first = -kFar, end = kFar, prefix = 0;
};

struct Masks {
  MaskTensor seen;  // bytes: not 0 = seen
  MaskTensor bias;  // added to the scaled scores; -inf hides
  WindowBounds window;
};

}  // namespace attn4j
