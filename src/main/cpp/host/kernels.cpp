#include "host/kernels.h"

namespace attn4j {

const KernelEntry* find_kernel(Family family, int64_t head_dim, DType dtype) {
  int32_t count = 0;
  const KernelEntry* entries = kernel_table(&count);
  const KernelEntry* best = nullptr;
  for (int32_t i = 0; i < count; i++) {
    const KernelEntry& e = entries[i];
    if (e.family != family || e.dtype != dtype || e.head_dim < head_dim) continue;
    if (best == nullptr || e.head_dim < best->head_dim) best = &e;
  }
  return best;
}

}  // namespace attn4j
