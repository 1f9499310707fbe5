// attn4j: SpargeAttn, block-sparse attention on top of SageAttention (arXiv:2502.18137).
//
// Attention maps are mostly empty, and where they are is cheap to predict: the queries and keys of a block are
// averaged, the averages are compared, and only the pairs of blocks that hold the mass of this small softmax are
// computed. Blocks that an average doesn't describe are always computed. What was left out counts as a score of -inf.
//
// Blocks are spas_block_grid's: query_block queries by key_block keys, the last ones shorter. Names and defaults follow
// upstream (thu-ml SpargeAttn), so that thresholds found there mean the same here. Unlike there, a causal mask holds
// inside the blocks on the diagonal too, all lengths are served, and a query with nothing to see gets zeros.
//
// On 9.0 P V is computed in FP8, as in sageattn_qk_int8_pv_fp8_cuda_sm90; a pv_accum_dtype of kFp32, or a qk_quant_gran
// other than kPerThread, asks for the slower kernel with 16-bit P V that other architectures run.
//
// Rules of attn4j.h hold here: views, workspace, stream, Status. A call enqueues four kernels with FP8, else at most
// five and one fill, and one copy for each tensor that isn't aligned to 16 bytes.
#pragma once

#include "attn4j/attn4j.h"

namespace attn4j {

/// What is left out. Each *_per_head array is fp32 [hq] in device memory and replaces the value beside it; null: the
/// value holds for all heads.
struct SparsityParams {
  /// A block whose rows point in different directions is always computed: its mean cosine similarity (over all pairs of
  /// rows, a row with itself included) is not above simthreshd1. Lower prunes more; -1 trusts every block but those
  /// with a zero row, whose direction is undefined.
  float simthreshd1 = 0.6f;
  const void* simthreshd1_per_head = nullptr;

  /// Per block of queries, the blocks of keys with the largest predicted mass are computed, as many as together hold no
  /// more than this share, and at least one. Higher keeps more; 1 keeps all. Read by spas_sage2_attn_meansim_cuda.
  float cdfthreshd = 0.97f;
  const void* cdfthreshd_per_head = nullptr;

  /// The share of all blocks of keys to compute per block of queries, those with the largest predicted mass: in [0, 1],
  /// rounded down to whole blocks, at least one. spas_sage2_attn_meansim_topk_cuda goes by this alone;
  /// spas_sage2_attn_meansim_cuda by whichever of topk and cdfthreshd keeps more.
  float topk = 0.f;
  const void* topk_per_head = nullptr;

  /// P*V is skipped for 32 queries by 32 or 64 keys where every score is more than this below the row's maximum so far,
  /// in log2 units: what is skipped weighs less than 2^-pvthreshd. Infinity never skips. In FP8 on 9.0 the exponentials
  /// of 16 queries by 64 or 96 keys are skipped, if the threshold is below 15 or given per head: to ask
  /// for less than that costs more than it saves.
  float pvthreshd = 15.f;
  const void* pvthreshd_per_head = nullptr;

  bool attention_sink = false;  ///< the first block of keys is always computed

  /// uint8 [b][hq][query_blocks][key_blocks]: not 0 = compute. Read by block_sparse_sage2_attn_cuda alone.
  const void* block_mask = nullptr;

  /// int32 [b][lq], or null: the order in which blocks take the tokens of self-attention (lq = lk), by batch entry. Row
  /// i of the order is row token_order[i] of q, k, v, o and lse, which stay in the caller's; block maps are in this
  /// one. A permutation, which is not checked. Read by the two functions that predict, in FP8 on 9.0; not with a causal
  /// mask or kv_lengths.
  const void* token_order = nullptr;

  /// Written if not null, on the stream, without a host synchronisation.
  void* block_map = nullptr;  ///< uint8 [b][hq][query_blocks][key_blocks]: 1 = computed
  void* sparsity =
      nullptr;  ///< fp32 [b][hq]: share of blocks left out, of those that the causal mask and kv_lengths leave
};

/// Predicts the blocks from q and k by cumulative mass (and topk).
ATTN4J_API Status spas_sage2_attn_meansim_cuda(const AttentionParams& params, const SparsityParams& sparsity,
                                               const Workspace& workspace, CUstream_st* stream) noexcept;
ATTN4J_API int64_t spas_sage2_attn_meansim_cuda_workspace_size(const AttentionParams& params,
                                                               const SparsityParams& sparsity) noexcept;

/// Predicts the blocks from q and k by rank. simthreshd1 holds as above; upstream's default for this function is -0.1.
ATTN4J_API Status spas_sage2_attn_meansim_topk_cuda(const AttentionParams& params, const SparsityParams& sparsity,
                                                    const Workspace& workspace, CUstream_st* stream) noexcept;
ATTN4J_API int64_t spas_sage2_attn_meansim_topk_cuda_workspace_size(const AttentionParams& params,
                                                                    const SparsityParams& sparsity) noexcept;

/// Computes the blocks that the caller names. is_causal and kv_lengths hold besides.
ATTN4J_API Status block_sparse_sage2_attn_cuda(const AttentionParams& params, const SparsityParams& sparsity,
                                               const Workspace& workspace, CUstream_st* stream) noexcept;
ATTN4J_API int64_t block_sparse_sage2_attn_cuda_workspace_size(const AttentionParams& params,
                                                               const SparsityParams& sparsity) noexcept;

/// The blocks of a request, which depend on the architecture.
struct BlockGrid {
  int64_t query_block = 0;   ///< queries per block
  int64_t key_block = 0;     ///< keys per block
  int64_t query_blocks = 0;  ///< ceil(lq / query_block)
  int64_t key_blocks = 0;    ///< ceil(lk / key_block)
};
ATTN4J_API Status spas_block_grid(const AttentionParams& params, BlockGrid* grid) noexcept;

/// The first step of the prediction by itself: mean and self-similarity of blocks of rows of x - shift.
struct BlockPoolParams {
  TensorView x;  ///< (b, h, s, d), d <= 128
  TensorLayout tensor_layout = TensorLayout::kHND;
  int64_t block = 128;          ///< rows per block
  const void* shift = nullptr;  ///< fp32 [b][h][d] subtracted first (k_mean writes it), or null
  void* means = nullptr;        ///< fp32 [b][h][ceil(s / block)][d], written
  void* similarity = nullptr;   ///< fp32 [b][h][ceil(s / block)], written: mean cosine similarity; NaN if a row is zero
};
ATTN4J_API Status block_pool(const BlockPoolParams& params, CUstream_st* stream) noexcept;

}  // namespace attn4j
