// One attention call: which kernels run and where their scratch memory lies. Making a plan validates the request and
// needs no GPU; running it enqueues.
#pragma once

#include "attn4j/attn4j.h"
#include "host/kernels.h"
#include "host/workspace.h"

namespace attn4j {

class AttentionPlan {
 public:
  // The kernel that a plan is made for. Each fails with kUnsupported if this build has none for the request.
  static Status exact(const AttentionParams& params, AttentionPlan* plan);
  static Status int8_f16(const AttentionParams& params, AttentionPlan* plan);
  static Status int8_fp8_sm90(const AttentionParams& params, AttentionPlan* plan);
  // The best of these for the request on this architecture.
  static Status sage(const AttentionParams& params, AttentionPlan* plan);

  const KernelEntry& kernel() const { return *kernel_; }
  int64_t workspace_size() const { return workspace_.size(); }

  // Quantise, then attend.
  Status run(const Workspace& workspace, cudaStream_t stream) const;

 private:
  // An offset in the workspace, or none.
  static constexpr int64_t kNone = -1;

  Status start(const AttentionParams& params);
  Status pick(Family family, const char* function);
  void add_repacked(const TensorView& t, int64_t* offset);
  Status check_addresses(const Workspace& workspace, int* device) const;
  Status repack(const TensorView& t, int64_t offset, void* workspace, const void** data, Strides* stride,
                cudaStream_t stream) const;
  Status quantize(AttentionArgs* args, void* workspace, cudaStream_t stream) const;

  AttentionParams params_;
  AttentionArgs args_;
  const KernelEntry* kernel_ = nullptr;
  WorkspacePlan workspace_;
  int64_t q_packed_ = kNone, k_packed_ = kNone, v_packed_ = kNone;
  int64_t mean_sums_ = kNone, mean_ = kNone, k_image_ = kNone;
};

}  // namespace attn4j
