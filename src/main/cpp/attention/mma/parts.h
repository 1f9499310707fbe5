// Which items of the kernels on mma.sync are divided by keys, so that the last round of CTAs fills the GPU. For the
// host, and for kernels.
//
// An item is a tile of queries of one head against all keys. n items on s streams of work leave n mod s for a last
// round, which takes as long as a full one. Those items are cut into parts by keys, each a CTA of its own; their sums
// go to the workspace, and a second kernel adds them up in order of the parts (mma/merge.cuh): the same bits in every
// run. host/recipe.cpp decides, by shape and GPU.
#pragma once

#include <cstdint>

#include "device/host_device.h"

namespace attn4j {

struct ItemParts {
  int32_t whole = INT32_MAX;  // the first item that is divided
  int32_t parts = 1;          // of each such item

  // A CTA has an item, or a part of one. Parts of an item follow each other.
  ATTN4J_HOST_DEVICE bool is_part(int32_t cta) const { return cta >= whole; }
  ATTN4J_HOST_DEVICE int32_t item(int32_t cta) const { return is_part(cta) ? whole + (cta - whole) / parts : cta; }
  ATTN4J_HOST_DEVICE int32_t part(int32_t cta) const { return (cta - whole) % parts; }

  ATTN4J_HOST_DEVICE int32_t divided(int32_t items) const { return items > whole ? items - whole : 0; }
  ATTN4J_HOST_DEVICE int32_t ctas(int32_t items) const { return items + divided(items) * (parts - 1); }
};

// Floats of a part in the workspace: O of each 16-row strip as its warp holds it, [strip][8 channels][lane][4], then
// (reference in log2 units, sum) of each row.
ATTN4J_HOST_DEVICE constexpr int32_t part_floats(int32_t rows, int32_t channels) { return rows * (channels + 2); }

}  // namespace attn4j
