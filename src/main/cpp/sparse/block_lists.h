// What SpargeAttn's prediction leaves for the attention kernels.
#pragma once

#include <cstdint>

namespace attn4j {

// Which tiles of keys each tile of queries visits: block-sparse attention. A tile of queries is a block of queries, a
// tile of keys a block of keys.
struct BlockLists {
  const int32_t* list = nullptr;   // [b, hq][query tiles][key tiles]: indices, ascending
  const int32_t* count = nullptr;  // [b, hq][query tiles]: how many of them
  const int32_t* order = nullptr;  // [b, hq][query tiles]: the tiles of queries in the order of work
  // P V is skipped where the scores stay this far, in log2 units, below the maximum so far.
  float pv_threshold = 0.f;
  const float* pv_thresholds = nullptr;  // [hq] instead, or null
};

}  // namespace attn4j
