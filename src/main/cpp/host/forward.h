// One attention call: which kernels run and where their scratch memory lies. Making a plan validates the request and
// needs no GPU; running it enqueues.
#pragma once

#include "attn4j/attn4j.h"
#include "host/kernels.h"
#include "host/workspace.h"
#include "quant/fp8_prepass.h"
#include "quant/quantize.h"

namespace attn4j {

class AttentionPlan {
 public:
  // The kernel that a plan is made for. Each fails with kUnsupported if this build has none for the request.
  static Status exact(const AttentionParams& params, AttentionPlan* plan);
  static Status int8_f16(const AttentionParams& params, AttentionPlan* plan);
  static Status int8_fp8_sm90(const AttentionParams& params, AttentionPlan* plan);
  // The best of these for the request on this architecture.
  static Status sage(const AttentionParams& params, AttentionPlan* plan);
  // The kernel over lists of blocks, which the caller makes between prepare and attend (host/sparse_forward.h).
  static Status sparse(const AttentionParams& params, AttentionPlan* plan);

  const KernelEntry& kernel() const { return *kernel_; }
  int64_t workspace_size() const { return workspace_.size(); }

  const AttentionParams& params() const { return params_; }
  const AttentionArgs& args() const { return args_; }

  // Quantise, then attend.
  Status run(const Workspace& workspace, cudaStream_t stream) const;

  // The parts of run. All but check_addresses enqueue on the current device; `workspace` has workspace_size() bytes.
  bool writes_nothing() const { return args_.lq == 0 || args_.batch == 0 || args_.heads_q == 0; }
  Status check_addresses(const Workspace& workspace, int* device) const;
  Status prepare(void* workspace, cudaStream_t stream, AttentionArgs* args, const Fp8Extras& extras = {}) const;
  Status attend(const AttentionArgs& args, void* workspace, cudaStream_t stream) const;

  // Whether prepare does what Fp8Extras asks for.
  bool takes_extras() const { return kernel_->family == Family::kSparseWgmmaInt8Fp8; }

  // enqueue_mean_sums of k, which prepare leaves in the workspace; null without K smoothing.
  const float* k_sums(void* workspace) const;

 private:
  // An offset in the workspace, or none.
  static constexpr int64_t kNone = -1;

  // A tensor that takes a detour through the workspace because kernels can't read or write it in 16-byte pieces.
  struct Packed {
    int64_t offset = kNone;
    RowsView original, packed;  // packed.data is set when the workspace is known
  };

  Status start(const AttentionParams& params);
  Status pick(Family family, const char* function);
  void plan_k_sums();
  static Status sparse_int8_f16(const AttentionParams& params, AttentionPlan* plan);
  Status plan_fp8(Family family, const char* function);
  void plan_int8_mma();
  void plan_int8_wgmma();
  // Reserves room for a copy if the tensor needs one; says whether it does.
  bool pack(const TensorView& t, Packed* packed);
  Status copy_in(Packed packed, void* workspace, const void** data, Strides* stride, cudaStream_t stream) const;
  Status quantize(AttentionArgs* args, void* workspace, cudaStream_t stream, const Fp8Extras& extras) const;
  Status quantize_int8(AttentionArgs* args, void* workspace, cudaStream_t stream) const;
  Status quantize_int8_pair(AttentionArgs* args, void* workspace, cudaStream_t stream) const;
  Status quantize_fp8(AttentionArgs* args, void* workspace, cudaStream_t stream, const Fp8Extras& extras) const;

  AttentionParams params_;
  AttentionArgs args_;
  const KernelEntry* kernel_ = nullptr;
  WorkspacePlan workspace_;
  Packed q_, k_, v_, o_;
  struct {
    int64_t mean_sums = kNone, mean = kNone, k_image = kNone, k_scale = kNone, q_image = kNone, q_scale = kNone;
  } int8_;
  struct {
    int64_t k_image, k_scale, k_mean, v_image, v_scale, q_image, q_scale, statistics, work_counter, images_done;
    int64_t partials, parts_done;
  } fp8_;
};

}  // namespace attn4j
