// How the Hopper kernel divides its last items by keys, so that the last round of work occupies all SMs. Host code, and
// what the producer needs of it. docs/hopper.md has the measurements.
//
// An item is a block of queries against all keys. With n items for s streams of work the last round has n mod s items,
// and the other streams wait for it. Cut into parts by keys it has several times as many pieces, each that much shorter.
// The sums of a part go to the workspace, and who comes last adds the item's parts up (attend_wgmma_combine.cuh).
#pragma once

#include <algorithm>
#include <cstdint>

#include "../device/host_device.h"

namespace attn4j {

// A range of an item's stages.
struct WgmmaStages {
  int32_t first, count;
};

// Items are numbered (batch, head, query block). Which of them are split, and where, depends on the shape and the number
// of streams alone: the same request gives the same bits, whether its keys are listed or not.
struct WgmmaSplit {
  int32_t items = 0;
  int32_t whole = 0;  // the first item that is split
  int32_t parts = 1;  // of each such item

  static constexpr int32_t kMostParts = 8;
  static constexpr int32_t kLeastStages = 4;    // of a part
  static constexpr double kPartStages = 1.5;    // what a part costs besides, in stages
  static constexpr double kWorthwhile = 0.985;  // of the time without a split
  static constexpr int32_t kMultiprocessors = 132;
  static constexpr int32_t kLeastStageKeys = 128;

  // Parts that the workspace has room for: two rounds of an H100, whatever the GPU. Fewer if there is little to divide.
  static int64_t most_parts(int64_t items, int32_t streams_per_sm, int32_t keys, bool causal) {
    if (causal || keys <= (2 * kLeastStages - 1) * kLeastStageKeys) return 0;
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

  // For `streams` of work, `streams_per_sm` on each SM. `stages` are those of a whole item. With a causal mask items
  // differ, the short ones come last, and nothing is split.
  static WgmmaSplit make(int32_t items, int32_t streams, int32_t streams_per_sm, int32_t keys, int32_t stage_keys,
                         bool causal) {
    WgmmaSplit best;
    best.items = best.whole = items;
    const int64_t room = most_parts(items, streams_per_sm, keys, causal);
    const int32_t stages = (keys + stage_keys - 1) / stage_keys;
    double least = kWorthwhile * stages * ((items + streams - 1) / streams);
    // Whole rounds, and what remains in parts; or a round more of parts.
    for (int64_t split = items % streams; split <= items && 2 * split <= room; split += streams) {
      for (int32_t parts = 2; parts <= kMostParts && parts * kLeastStages <= stages; parts++) {
        const int64_t all = split * parts, rounds = (all + streams - 1) / streams;
        if (all > room) break;
        const double part = kPartStages + (stages + parts - 1) / parts;
        const double time = static_cast<double>((items - split) / streams) * stages + rounds * part;
        if (time >= least) continue;
        least = time;
        best.whole = items - static_cast<int32_t>(split), best.parts = parts;
      }
    }
    return best;
  }
};

// Floats of a part in the workspace: for each lane of the item's eight warps the sums of its share of 16 rows, and a
// piece of four with the normalisers and references of its two rows.
constexpr int64_t kWgmmaItemWarps = 8;
ATTN4J_HOST_DEVICE constexpr int64_t wgmma_part_floats(int64_t compiled_d) {
  return kWgmmaItemWarps * 32 * 4 * (compiled_d / 8 + 1);
}

}  // namespace attn4j
