// What SpargeAttn (arXiv:2502.18137) has besides an attention plan: the lists of blocks that its kernel walks over,
// from a prediction or from the caller's mask. Trivially copyable.
#pragma once

#include "attn4j/sparse.h"
#include "host/plan.h"
#include "sparse/predict.h"

namespace attn4j {

// Where the blocks come from.
enum class BlockSource {
  kMass,   // predicted, by cumulative mass and rank
  kRank,   // predicted, by rank alone
  kGiven,  // the caller's mask
};

// The blocks of a request, whatever selects them.
BlockGrid block_grid(const AttentionPlan& attention);

class SparsePlan {
 public:
  // Validates the thresholds and reserves workspace behind the attention plan's.
  Status make(BlockSource source, const SparsityParams& sparsity, const AttentionPlan& attention, Refusal* refusal);

  int64_t workspace_size() const { return workspace_.size(); }
  int32_t launches(const AttentionPlan& attention) const;

  // Looks up the addresses that are SpargeAttn's own.
  Status check_addresses(const PlanAddresses& addresses, const void* q, int* device) const;

  // Quantises, predicts, attends. `args` are of AttentionPlan::address.
  Status run(const AttentionPlan& attention, AttentionArgs* args, const PlanAddresses& addresses,
             cudaStream_t stream) const;

 private:
  // The prediction of a run: where things lie.
  Status placed(const AttentionPlan& attention, const PlanAddresses& addresses, SelectArgs* select) const;
  Fp8Extras extras(const SelectArgs& select) const;
  Status pool(const AttentionPlan& attention, const AttentionArgs& args, void* workspace, const SelectArgs& select,
              cudaStream_t stream) const;

  BlockSource source_ = BlockSource::kGiven;
  float pv_threshold_ = 0.f;
  bool mask_given_ = false, map_wanted_ = false, sparsity_wanted_ = false, ordered_ = false;
  bool per_head_[4] = {};  // simthreshd1, cdfthreshd, topk, pvthreshd
  SelectArgs select_;
  WorkspacePlan workspace_;
  struct {
    int64_t list, count, order, finished, q_means, k_means, q_similarity, k_similarity;
  } at_ = {};
};

static_assert(std::is_trivially_copyable_v<SparsePlan>, "callers keep plans in storage of their own");

}  // namespace attn4j
