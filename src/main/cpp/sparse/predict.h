// The prediction of SpargeAttn (arXiv:2502.18137, section 3.3) as functions that the host calls. Each enqueues one
// kernel and returns the launch's error.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "device/tensors.h"
#include "quant/quantize.h"

namespace attn4j {

// Mean and self-similarity of each block of rows of x - shift. x.head_dim <= 128.
struct PoolTask {
  RowsView x;
  const float* sums = nullptr;    // enqueue_mean_sums of x: shift by the mean over the sequence; or null
  const float* shift = nullptr;   // [b][h][head_dim]: shift by this, if sums is null; or null
  int32_t block = 1, blocks = 0;  // rows per block, blocks per head
  int32_t pitch = 0;              // floats from one mean to the next, at least head_dim; channels in between become 0
  float* means = nullptr;         // [b][h][blocks][pitch]
  float* similarity = nullptr;    // [b][h][blocks]

  int64_t ctas() const { return static_cast<int64_t>(x.batch) * x.heads * blocks; }
};

// Two tensors of one dtype and head_dim in one launch. The second may have no blocks.
cudaError_t enqueue_pool(const PoolTask& first, const PoolTask& second, cudaStream_t stream);

// A threshold: one value, or one per query head.
struct PerHead {
  float value = 0.f;
  const float* values = nullptr;  // [hq] or null
};

// Which blocks of keys each block of queries computes, from the means or from the caller's mask.
struct SelectArgs {
  int32_t batch = 0, heads_q = 0, group = 1, lq = 0, lk = 0;
  int32_t causal_offset = kNotCausal;  // as in AttentionArgs
  const int32_t* kv_lengths = nullptr;
  int32_t query_block = 1, key_block = 1, query_blocks = 0, key_blocks = 0;

  const uint8_t* given = nullptr;  // [b][hq][query_blocks][key_blocks]: the caller's mask; null: predict
  const float* q_means = nullptr;  // [b][hq][query_blocks][pitch]
  const float* k_means = nullptr;  // [b][hkv][key_blocks][pitch]
  const float* q_similarity = nullptr;
  const float* k_similarity = nullptr;
  int32_t pitch = 0;       // a multiple of kPitchStep
  float scale_log2 = 0.f;  // sm_scale * log2(e), with its sign
  PerHead similarity_threshold, mass_threshold, topk;
  bool sink = false;

  int32_t* list = nullptr;        // [b][hq][query_blocks][key_blocks]: indices, ascending
  int32_t* count = nullptr;       // [b][hq][query_blocks]: how many of them
  int32_t* order = nullptr;       // [b][hq][query_blocks]: blocks of queries, most work first
  int32_t* finished = nullptr;    // [b][hq], scratch
  bool finished_is_zero = false;  // it needs no clearing
  uint8_t* map = nullptr;         // [b][hq][query_blocks][key_blocks] or null
  float* sparsity = nullptr;      // [b][hq] or null
  float* report = nullptr;        // [min(hq, kReportedHeads)] or null: the same of whichever batch entry comes last

  static constexpr int32_t kReportedHeads = 256;
  uint64_t dense_heads[kReportedHeads / 64] = {};  // bits: heads that keep all blocks

  static constexpr int32_t kPitchStep = 32;
};
cudaError_t enqueue_select(const SelectArgs& args, cudaStream_t stream);

// The most blocks of keys that enqueue_select can predict on this architecture: scores of a row stay in shared memory.
int32_t most_key_blocks();

}  // namespace attn4j
