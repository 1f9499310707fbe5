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

struct Masks {
  MaskTensor seen;  // bytes: not 0 = seen
  MaskTensor bias;  // added to the scaled scores; -inf hides
};

}  // namespace attn4j
