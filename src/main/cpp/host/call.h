// A planned call of any of the attention functions: what a PlanHandle holds.
#pragma once

#include "attn4j/plan.h"
#include "host/plan.h"
#include "host/sparse_plan.h"

namespace attn4j {

class CallPlan {
 public:
  // `facts` may be null.
  Status make(const PlanRequest& request, PlanFacts* facts);
  bool is_made() const { return mark_ == kMark; }
  bool is_sparse() const { return is_sparse_; }
  const AttentionPlan& attention() const { return attention_; }
  const SparsePlan& sparse() const { return sparse_; }
  int32_t device() const { return device_; }  // of the request
  bool writes_nothing() const {
    const AttentionArgs& shape = attention_.args();
    return is_sparse_ ? shape.batch == 0 || shape.heads_q == 0 : attention_.writes_nothing();
  }
  // Asks CUDA: all must be memory of one device, and that is the request's if it names one.
  Status check_addresses(const PlanAddresses& addresses, int* device) const;
  int64_t workspace_size() const { return attention_.workspace_size() + (is_sparse_ ? sparse_.workspace_size() : 0); }

 private:
  static constexpr uint64_t kMark = 0x6134a7747400 + ATTN4J_ABI_VERSION;

  Status plan(const PlanRequest& request, Refusal* refusal);
  void tell(PlanFacts* facts) const;

  uint64_t mark_ = 0;
  int32_t device_ = -1;
  bool is_sparse_ = false;
  AttentionPlan attention_;
  SparsePlan sparse_;
};

static_assert(std::is_trivially_copyable_v<CallPlan> && sizeof(CallPlan) <= sizeof(PlanHandle) &&
                  alignof(CallPlan) <= alignof(PlanHandle),
              "a PlanHandle has no room for what is planned: enlarge it, which changes the ABI");

// The functions that plan and run in one step.
Status plan_and_run(const PlanRequest& request, const Workspace& workspace, CUstream_st* stream);
int64_t planned_size(const PlanRequest& request);

}  // namespace attn4j
