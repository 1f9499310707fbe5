// What the producer and the consumers of the Hopper kernel share: work items and their order, stages and barriers.
#pragma once

#include <cstddef>
#include <cstdint>

#include "attention/arguments.h"
#include "attention/fp8_wgmma/policy.cuh"
#include "attention/fp8_wgmma/softmax.cuh"
#include "device/ptx/mbarrier.cuh"
#include "device/ptx/shared_access.cuh"

namespace attn4j {

struct WgmmaParams {
  AttentionArgs a;
  int32_t query_blocks;   // per head
  int32_t section_heads;  // heads whose K and V images share the L2 cache
  float negligible;       // scores that far below a row's highest reference, in log2 units, don't matter
};

// Keys that a unit of work (WgmmaSplit) sees, and its place in the order of work: sections of heads that fit the L2
// cache, and within a section the longest items first, so that the last ones to finish are short. Parts of items come
// last.
template <class P>
__device__ __forceinline__ WgmmaItem wgmma_item(const WgmmaParams& p, int unit) {
  const AttentionArgs& a = p.a;
  int head, block, part = 0;
  if (unit < a.split.items) {
    const bool by_length = P::kListed || a.causal_offset != kNotCausal;
    const int heads = a.batch * a.heads_q, section = unit / (p.section_heads * p.query_blocks);
    const int first = section * p.section_heads, count = min(p.section_heads, heads - first);
    const int rest = unit - first * p.query_blocks;
    const int rank = by_length ? rest / count : rest % p.query_blocks;
    head = first + (by_length ? rest % count : rest / p.query_blocks);
    block = by_length ? p.query_blocks - 1 - rank : rank;
    if constexpr (P::kListed) block = __ldg(a.blocks.order + static_cast<int64_t>(head) * p.query_blocks + rank);
  } else {
    part = a.split.part(unit);
    const int number = a.split.item(unit);
    head = number / p.query_blocks;
    block = number - head * p.query_blocks;
  }
  WgmmaItem item;
  item.batch = head / a.heads_q;
  item.head = head - item.batch * a.heads_q;
  item.first_row = block * P::kRows;
  int keys = a.kv_lengths ? min(a.kv_lengths[item.batch], a.lk) : a.lk;
  keys = min(keys, min(item.first_row + P::kRows, a.lq) + a.causal_offset);
  item.negligible = p.negligible;
  if constexpr (P::kListed) {
    keys = __ldg(a.blocks.count + static_cast<int64_t>(head) * p.query_blocks + block) * P::kBlockKeys;
    if constexpr (P::kSkips) {
      // The maximum of a row lies at least this far above its highest reference (WgmmaConsumer::move).
      constexpr float kLeastLead = kMaxExponent - P::kHeadroom - 1.f;
      const float threshold =
          a.blocks.pv_thresholds ? __ldg(a.blocks.pv_thresholds + item.head) : a.blocks.pv_threshold;
      item.negligible = fmaxf(kLeastLead - threshold, item.negligible);
    }
  }
  item.tiles = keys > 0 ? (keys + P::kKeys - 1) / P::kKeys : 0;
  item.first_tile = 0;
  item.partial = -1;
  const int number = head * p.query_blocks + block;
  if (a.split.splits(number, item.tiles)) {
    const WgmmaStages range = a.split.stages_of(part, item.tiles);
    item.first_tile = range.first, item.tiles = range.count;
    item.partial = (number - a.split.whole) * a.split.parts + part;
  } else if (part > 0) {
    item.tiles = 0, item.partial = 0;
  }
  item.limit = item.first_row + a.causal_offset;
  return item;
}

// Whether some value of the item's head isn't finite: then nothing may be left out, since 0 times it is no 0.
template <class P>
__device__ __forceinline__ bool meets_nonfinite_values(uint32_t smem, uint32_t round) {
  return ptx::load_shared(smem + P::Map::kVScaleAt + (round & 1) * P::Map::kVScaleBytes + 12 * P::kHeadDim) != 0.f;
}

// Position in a ring of stages, with the parity of the phase in which the stage is full.
template <int kStages>
struct RingPosition {
  uint32_t stage = 0, parity = 0;
  __device__ __forceinline__ void advance() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// Shared-memory addresses of the barriers.
template <class P>
struct WgmmaBarriers {
  uint32_t base;
  __device__ __forceinline__ uint32_t k_full(uint32_t s) const { return base + 8 * s; }
  __device__ __forceinline__ uint32_t k_empty(uint32_t s) const { return base + 8 * (P::kStages + s); }
  // The same barriers as K's where a stage is filled and released as a whole.
  __device__ __forceinline__ uint32_t v_full(uint32_t s) const { return k_full(kVRing + s); }
  __device__ __forceinline__ uint32_t v_empty(uint32_t s) const { return k_empty(kVRing + s); }
  __device__ __forceinline__ uint32_t q_full(uint32_t s) const { return k_full(2 * P::kStages + kVRing + s); }
  __device__ __forceinline__ uint32_t q_empty(uint32_t s) const { return q_full(2 + s); }

 private:
  static constexpr uint32_t kVRing = P::kWholeStages ? 0 : 2 * P::kStages;
};

__device__ __forceinline__ void random_delay() {
  uint32_t x = static_cast<uint32_t>(clock64()) * 2654435761u ^ (threadIdx.x >> 5) * 40503u;
  x ^= x >> 15;
  if ((x & 3) == 0) __nanosleep(x >> 4 & 2047);
}

}  // namespace attn4j
