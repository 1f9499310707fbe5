// Which query block a CTA of the exact Hopper kernel works on, and which keys that block sees.
#pragma once

#include <cstdint>

#include "host/kernels.h"

namespace attn4j {

// The order in which query blocks are handed to a persistent grid.
enum class WorkOrder : int32_t {
  kHeadMajor,     // all blocks of a head, then the next head: concurrent CTAs share K and V in L2
  kPaired,        // the same, a CTA taking block i and its mirror image: with a causal mask all pairs cost the same
  kLongestFirst,  // blocks with most keys first, heads inside: for grids too small for pairs
};

struct WorkPlan {
  WorkOrder order = WorkOrder::kHeadMajor;
  int32_t blocks = 1;  // query blocks per head
  int32_t units = 1;   // what CTAs take turns at: blocks, or pairs of blocks, of all heads
};

// `rows` = query rows per block.
inline WorkPlan plan_work(const AttentionArgs& args, int rows, int sms) {
  WorkPlan plan;
  plan.blocks = (args.lq + rows - 1) / rows;
  const int32_t heads = args.batch * args.heads_q;
  plan.units = plan.blocks * heads;
  if (args.causal_offset == kNotCausal || plan.blocks == 1) return plan;
  const int32_t pairs = (plan.blocks + 1) / 2 * heads;
  if (pairs >= 3 * sms) {
    plan.order = WorkOrder::kPaired;
    plan.units = pairs;
  } else {
    plan.order = WorkOrder::kLongestFirst;
  }
  return plan;
}

// Walks over the query blocks of one CTA.
class WorkCursor {
 public:
  __device__ __forceinline__ explicit WorkCursor(const WorkPlan& plan) : plan_(plan), unit_(blockIdx.x) { decode(); }

  __device__ __forceinline__ bool valid() const { return unit_ < plan_.units; }
  __device__ __forceinline__ int block() const { return block_; }
  __device__ __forceinline__ int head() const { return head_; }  // batch * heads_q + head

  __device__ __forceinline__ void advance() {
    if (plan_.order == WorkOrder::kPaired && !mirrored_ && 2 * block_ != plan_.blocks - 1) {
      mirrored_ = true;
      block_ = plan_.blocks - 1 - block_;
      return;
    }
    mirrored_ = false;
    // There and back again: whoever got the longest unit of a round gets the shortest of the next.
    if (plan_.order == WorkOrder::kLongestFirst) {
      reverse_ = !reverse_;
      round_ += gridDim.x;
      unit_ = round_ + (reverse_ ? gridDim.x - 1 - blockIdx.x : blockIdx.x);
    } else {
      unit_ += gridDim.x;
    }
    decode();
  }

 private:
  __device__ __forceinline__ void decode() {
    if (plan_.order == WorkOrder::kLongestFirst) {
      const int heads = plan_.units / plan_.blocks;
      head_ = unit_ % heads;
      block_ = plan_.blocks - 1 - unit_ / heads;
    } else {
      const int per_head = plan_.order == WorkOrder::kPaired ? (plan_.blocks + 1) / 2 : plan_.blocks;
      head_ = unit_ / per_head;
      block_ = unit_ - head_ * per_head;
      if (plan_.order == WorkOrder::kPaired) block_ = plan_.blocks - 1 - block_;  // the longer one first
    }
  }

  const WorkPlan& plan_;
  int unit_, round_ = 0, block_ = 0, head_ = 0;
  bool mirrored_ = false, reverse_ = false;
};

// One query block.
struct WorkBlock {
  int batch, head, first_row;
  int kv_length;  // keys of this batch entry
  int tiles;      // key tiles to process, at least 1: a block that sees no key processes one masked tile

  template <int kRows, int kKeys>
  static __device__ __forceinline__ WorkBlock at(const WorkCursor& cursor, const AttentionArgs& args) {
    WorkBlock w;
    w.batch = cursor.head() / args.heads_q;
    w.head = cursor.head() - w.batch * args.heads_q;
    w.first_row = cursor.block() * kRows;
    w.kv_length = args.kv_lengths != nullptr ? min(max(args.kv_lengths[w.batch], 0), args.lk) : args.lk;
    const int last_row = min(w.first_row + kRows, args.lq) - 1;
    const int keys = min(w.kv_length, last_row + args.causal_offset + 1);
    w.tiles = max(1, (keys + kKeys - 1) / kKeys);
    return w;
  }
};

}  // namespace attn4j
