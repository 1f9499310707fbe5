// Who works on what in the exact Hopper kernel: the order of query blocks in a persistent grid, and an estimate of its
// time.
#pragma once

#include <algorithm>
#include <cstdint>

#include "attention/arguments.h"

namespace attn4j {

// How the CTAs of a persistent grid take turns.
enum class WorkOrder : int32_t {
  kHeadMajor,     // all blocks of a head, then the next head: concurrent CTAs share K and V in L2
  kPaired,        // the same, a CTA taking a block and its mirror image: with a causal mask all pairs cost the same
  kLongestFirst,  // the last block of all heads first: for causal grids too small for pairs, and for heads that lie
                  // side by side in memory
};

struct WorkPlan {
  WorkOrder order = WorkOrder::kHeadMajor;
  int32_t blocks = 1;  // query blocks per head
  int32_t units = 1;   // blocks, or pairs of blocks, of all heads
};

// `rows` = query rows per block, `sms` = CTAs that run at the same time.
inline WorkPlan plan_work(const AttentionArgs& args, int rows, int sms) {
  constexpr int64_t kSmallKv = 16 << 20;  // bytes: L2 keeps K and V of all heads
  WorkPlan plan;
  plan.blocks = (args.lq + rows - 1) / rows;
  const int32_t heads = args.batch * args.heads_q;
  plan.units = plan.blocks * heads;
  if (args.causal_offset != kNotCausal) {
    const int32_t pairs = (plan.blocks + 1) / 2;
    plan.order = int64_t{pairs} * heads >= 3 * sms ? WorkOrder::kPaired : WorkOrder::kLongestFirst;
    if (plan.order == WorkOrder::kPaired) {
      plan.blocks = 2 * pairs;  // the last may lie behind the last query: it costs one tile and writes nothing
      plan.units = pairs * heads;
    }
  } else if (args.q_stride.head < args.q_stride.row &&
             int64_t{4} * args.batch * args.heads_kv * args.lk * args.head_dim <= kSmallKv) {
    plan.order = WorkOrder::kLongestFirst;
  }
  return plan;
}

// A tile shape and what it costs: microseconds per block = us_per_block + keys * us_per_key. Fitted to measurements
// (docs/exact.md); only the ratios between shapes matter.
struct TileTiming {
  int rows, keys;
  float us_per_key, us_per_block;
};

// Estimated microseconds of a launch.
inline float estimate_time(const AttentionArgs& args, const TileTiming& tile, int sms) {
  const WorkPlan plan = plan_work(args, tile.rows, sms);
  const auto block_time = [&](int block) {
    const int64_t last_row = std::min(int64_t{args.lq}, (block + int64_t{1}) * tile.rows) - 1;
    const int64_t seen = std::min(int64_t{args.lk}, last_row + args.causal_offset + 1);
    const int64_t tiles = std::max(int64_t{1}, (seen + tile.keys - 1) / tile.keys);
    return tile.us_per_block + tile.us_per_key * static_cast<float>(tiles * tile.keys);
  };
  const float first = block_time(0), last = block_time(plan.blocks - 1);
  const int64_t rounds = (int64_t{plan.units} + sms - 1) / sms;
  if (args.causal_offset == kNotCausal) return static_cast<float>(rounds) * last;
  if (plan.order == WorkOrder::kPaired) return static_cast<float>(rounds) * (first + last);
  return std::max(last, static_cast<float>(plan.units) * (first + last) / (2.f * sms));
}

// Walks over the query blocks of one CTA. It is one register; WorkBlock::at finds out where the block lies, which takes
// divisions, so callers put it where something else is in flight.
class WorkCursor {
 public:
  __device__ __forceinline__ explicit WorkCursor(const WorkPlan& plan) : plan_(plan) {}

  __device__ __forceinline__ bool valid() const { return unit() < static_cast<unsigned>(plan_.units); }
  __device__ __forceinline__ void advance() { ++turn_; }

  __device__ __forceinline__ void locate(int& flat_head, int& block) const {
    const int unit = static_cast<int>(this->unit());
    if (plan_.order == WorkOrder::kLongestFirst) {
      const int heads = plan_.units / plan_.blocks;
      const int behind = unit / heads;
      flat_head = unit - behind * heads;
      block = plan_.blocks - 1 - behind;
    } else if (plan_.order == WorkOrder::kPaired) {
      const int pairs = plan_.blocks / 2;
      flat_head = unit / pairs;
      block = unit - flat_head * pairs;
      if (turn_ % 2 == 0) block = plan_.blocks - 1 - block;  // the longer one first
    } else {
      flat_head = unit / plan_.blocks;
      block = unit - flat_head * plan_.blocks;
    }
  }

 private:
  // Unsigned: behind the last of 2^31 - 1 units it goes on.
  __device__ __forceinline__ unsigned unit() const {
    const unsigned ctas = gridDim.x, cta = blockIdx.x;
    if (plan_.order == WorkOrder::kPaired) return turn_ / 2 * ctas + cta;
    // There and back again: whoever got the longest unit of a round gets the shortest of the next.
    const bool back = plan_.order == WorkOrder::kLongestFirst && turn_ % 2 == 1;
    return turn_ * ctas + (back ? ctas - 1 - cta : cta);
  }

  const WorkPlan& plan_;
  unsigned turn_ = 0;
};

// One query block.
struct WorkBlock {
  int flat_head;  // batch * heads_q + head
  int first_row;
  int kv_length;  // keys of this batch entry
  int tiles;      // key tiles to process, at least 1: a block that sees no key processes one masked tile

  template <class Tile>
  static __device__ __forceinline__ WorkBlock at(const WorkCursor& cursor, const AttentionArgs& args) {
    WorkBlock w;
    int block;
    cursor.locate(w.flat_head, block);
    w.first_row = block * Tile::kRows;
    w.kv_length = args.lk;
    if (args.kv_lengths != nullptr) w.kv_length = min(max(args.kv_lengths[w.flat_head / args.heads_q], 0), args.lk);
    const int last_row = min(w.first_row + Tile::kRows, args.lq) - 1;
    const int seen = w.first_row < args.lq ? min(w.kv_length, last_row + args.causal_offset + 1) : 0;
    w.tiles = max(1, (seen + Tile::kKeys - 1) / Tile::kKeys);
    return w;
  }
};

}  // namespace attn4j
