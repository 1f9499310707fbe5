// One SpargeAttn call (arXiv:2502.18137): an attention plan, and the lists of blocks that its kernel walks over.
#pragma once

#include "attn4j/sparse.h"
#include "host/forward.h"
#include "sparse/predict.h"

namespace attn4j {

// Where the blocks come from.
enum class BlockSource {
  kMass,   // predicted, by cumulative mass and rank
  kRank,   // predicted, by rank alone
  kGiven,  // the caller's mask
};

class SparsePlan {
 public:
  static Status make(BlockSource source, const AttentionParams& params, const SparsityParams& sparsity,
                     SparsePlan* plan);
  // The blocks of a request, whatever selects them.
  static Status grid(const AttentionParams& params, BlockGrid* grid);

  int64_t workspace_size() const { return attention_.workspace_size() + workspace_.size(); }

  // Quantise, predict, attend.
  Status run(const Workspace& workspace, cudaStream_t stream) const;

 private:
  Status plan_selection();
  Status check_addresses(const Workspace& workspace, int* device) const;
  // Where the prediction lies in the workspace.
  SelectArgs placed(void* workspace) const;
  Fp8Extras extras(const SelectArgs& select) const;
  Status pool(void* workspace, const SelectArgs& select, cudaStream_t stream) const;

  BlockSource source_ = BlockSource::kGiven;
  SparsityParams sparsity_;
  AttentionPlan attention_;
  SelectArgs select_;
  WorkspacePlan workspace_;  // behind attention_'s
  struct {
    int64_t list, count, order, finished, q_means, k_means, q_similarity, k_similarity;
  } at_ = {};
};

}  // namespace attn4j
