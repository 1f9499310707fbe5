// How the Hopper kernel divides its last items by keys, so that the last round of work occupies all SMs.
//
// An item is a block of queries against all keys. With n items for s streams of work the last round has n mod s items,
// and the other streams wait for it. Cut into parts by keys it has several times as many pieces, each that much
// shorter. The sums of a part go to the workspace, and who comes last adds the item's parts up
// (fp8_wgmma/combine.cuh). quant/fp8_plan.h decides which items are split.
#pragma once

#include <algorithm>
#include <cstdint>

#include "../../device/host_device.h"

namespace attn4j {

// A range of an item's stages.
struct WgmmaStages {
  int32_t first, count;
};

// Items are numbered (batch, head, query block). Which of them are split, and where, depends on the shape and the GPU
// alone: the same request gives the same bits, whether its keys are listed or not.
struct WgmmaSplit {
  int32_t items = 0;
  int32_t whole = 0;  // the first item that is split
  int32_t parts = 1;  // of each such item

  static constexpr int32_t kMostParts = 8;
  static constexpr int32_t kLeastStages = 4, kStageKeys = 128;  // of a part; of a stage, at least
  static constexpr double kPartStages = 2;                      // what a part costs besides, in stages

  // Parts that the workspace has room for: two rounds of an H100, whatever the GPU. Fewer if there is little to divide.
  static int64_t most_parts(int64_t items, int32_t streams_per_sm, int32_t keys, bool causal) {
    constexpr int64_t kMultiprocessors = 132;
    if (causal || keys <= (2 * kLeastStages - 1) * kStageKeys) return 0;
    return std::min<int64_t>(items * kMostParts, 2 * kMultiprocessors * streams_per_sm);
  }

  // A unit of work is an item, of those that are split the first part; then come the other parts.
  ATTN4J_HOST_DEVICE int32_t split_items() const { return items - whole; }
  ATTN4J_HOST_DEVICE int32_t units() const { return items + split_items() * (parts - 1); }
  // Of units beyond the items.
  ATTN4J_HOST_DEVICE int32_t part(int32_t unit) const { return 1 + (unit - items) / split_items(); }
  ATTN4J_HOST_DEVICE int32_t item(int32_t unit) const { return whole + (unit - items) % split_items(); }

  // Whether an item of so many stages is split. Its list or its batch entry's length may leave it too few.
  ATTN4J_HOST_DEVICE bool splits(int32_t item, int32_t stages) const {
    return item >= whole && stages >= kLeastStages * parts;
  }
  ATTN4J_HOST_DEVICE WgmmaStages stages_of(int32_t part, int32_t stages) const {
    const int32_t first = stages * part / parts;
    return {first, stages * (part + 1) / parts - first};
  }
};

// Floats of a part in the workspace: for each lane of the item's eight warps the sums of its share of 16 rows, and a
// piece of four with the normalisers and references of its two rows.
constexpr int64_t kWgmmaItemWarps = 8;
ATTN4J_HOST_DEVICE constexpr int64_t wgmma_part_floats(int64_t compiled_d) {
  return kWgmmaItemWarps * 32 * 4 * (compiled_d / 8 + 1);
}

}  // namespace attn4j
