// What an attention kernel is given, by value: a part from each who writes it. Valid by construction; kernels check
// nothing.
#pragma once

#include <cstdint>

#include "attention/fp8_wgmma/split.h"
#include "attention/masks.h"
#include "attention/mma/parts.h"
#include "quant/prepared.h"
#include "sparse/block_lists.h"

namespace attn4j {

// Packed sequences, read by kernels whose recipe says so. lq and lk are the rows of all.
struct PackedArgs {
  const int32_t* q = nullptr;  // [count + 1]: where sequences begin; null: there are none
  const int32_t* k = nullptr;
  int32_t count = 0;
  bool bottom_right = false;  // of a causal mask
};

struct AttentionArgs : PreparedCall {
  // Items whose keys are divided between CTAs (attention/fp8_wgmma/split.h); the sums of each part; and for each
  // warp of such an item how many parts are there, zeroed by the pre-pass.
  WgmmaSplit split;
  float* partials = nullptr;
  int32_t* parts_done = nullptr;

  BlockLists blocks;  // read by the block-sparse kernels alone
  Masks masks;        // read by kernels whose recipe says so

  // [b][lk] or null. A mask of keys as lists: keys that it hides are not there, and key j of a batch entry is the one
  // that stands in key_places[j] of k. The same for v; null where v's rows were put into that order.
  const int32_t* key_places = nullptr;
  const int32_t* value_places = nullptr;
  // [b][ceil(lk / 32)] bits, or null. Keys that are there although the mask hides them, since a causal mask counts
  // them: their places are the complements of others' (quant/quantize.h), and their values weigh nothing.
  const uint32_t* hidden_keys = nullptr;

  // Items that the kernels on mma.sync divide by keys; the sums of parts are in `partials`, too.
  ItemParts parts;

  PackedArgs packed;

  // [b][lq] or null. Self-attention in another order of the tokens: row i of q, o and lse is the one that stands in
  // token_places[i] there. key_places and value_places are the same then.
  const int32_t* token_places = nullptr;
};

}  // namespace attn4j
