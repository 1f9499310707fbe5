// What follows from a request's shapes and options: which kernel runs, what is prepared for it, and where scratch
// memory lies. Trivially copyable, so that callers can keep it. Making a plan validates the request and needs no GPU.
#pragma once

#include <cstring>
#include <type_traits>

#include "attention/arguments.h"
#include "attn4j/plan.h"
#include "host/preparation.h"
#include "host/recipe.h"
#include "host/workspace.h"
#include "quant/quantize.h"

namespace attn4j {

class AttentionPlan {
 public:
  // The cheapest kernel for the function on a machine; `args` are of the validated request. Fails with kUnsupported,
  // and the reason in *refusal, if this build has none.
  Status make(AttentionFunction function, const AttentionParams& params, const AttentionArgs& args,
              const Machine& machine, Refusal* refusal);

  const KernelEntry& kernel() const { return *kernel_; }
  int64_t workspace_size() const { return workspace_.size(); }
  const AttentionArgs& args() const { return args_; }
  int32_t launches() const;

  bool writes_nothing() const { return args_.lq == 0 || args_.batch == 0 || args_.heads_q == 0; }
  // The arguments of a run: addresses that suit the plan, or kInvalidArgument.
  Status address(const PlanAddresses& addresses, AttentionArgs* args) const;

  // The parts of a run, around the preparation's kernels and the attention kernel itself. They enqueue on the current
  // device; `workspace` has workspace_size() bytes. Where operands and workspace lie, for the arguments of `address`:
  Status place(void* workspace, cudaStream_t stream, AttentionArgs* args) const;
  // The output, if it took a detour, to where it belongs.
  Status copy_out(void* o, void* workspace, cudaStream_t stream) const;
  bool takes_extras() const { return kernel_->preparation->takes_extras; }

  // For preparations.
  enum Operand { kQ, kK, kV, kO, kOperands };
  static constexpr int64_t kNone = -1;

  AttentionArgs& mutable_args() { return args_; }
  const Machine& machine() const { return machine_; }
  bool smooth_k() const { return smooth_k_; }
  QuantGranularity granularity() const { return granularity_; }
  // Whether kernels can read or write the caller's operand in 16-byte pieces.
  bool is_aligned(Operand operand) const { return aligned_[operand]; }
  // Sees to it that they can: if need be, through a copy.
  void pack(Operand operand);
  // The same of k or v for kernels that read it themselves: hidden keys are not in the copy.
  void pack_shown(Operand operand);
  // Reserves workspace; the offset.
  int64_t reserve(int64_t bytes) { return workspace_.add(bytes); }
  // Reserves workspace whose address the kernels find in a field of their arguments.
  template <class T, class Part>
  void bind(T* Part::*field, int64_t bytes) {
    const char* at = reinterpret_cast<const char*>(&(args_.*field));
    bindings_[binding_count_++] = {at - reinterpret_cast<const char*>(&args_), reserve(bytes)};
  }
  // A slice that only the preparation itself needs.
  int64_t scratch = kNone;
  // enqueue_mean_sums of k, or kNone without K smoothing.
  int64_t k_sums = kNone;
  // An operand as the arguments of a run have it.
  RowsView rows_of(Operand operand, const AttentionArgs& args) const;

 private:
  // A tensor that takes a detour through the workspace: contiguous there.
  struct Packed {
    int64_t offset = kNone;
    Strides stride;
    int32_t head_dim = 0;
  };
  struct Binding {
    int64_t field, offset;  // bytes in AttentionArgs; in the workspace
  };
  static constexpr int kMostBindings = 16;
  // Where the list of the keys that a mask shows lies, and their number.
  struct KeyListAt {
    int64_t list = kNone, counts = kNone, hidden = kNone;
  };

  int alignment_of(Operand operand) const { return aligned_[operand] ? 16 : 2; }
  bool lists_keys() const { return key_list_.list != kNone; }
  void reserve_copy(Operand operand);
  Status list_keys(void* workspace, AttentionArgs* args, cudaStream_t stream) const;
  // Decides which items attention divides, and reserves what their parts leave.
  void divide_items();
  Status copy_in(Operand operand, void* workspace, AttentionArgs* args, cudaStream_t stream) const;
  RowsView packed_rows(Operand operand, const AttentionArgs& args, void* workspace) const;

  AttentionArgs args_;
  Machine machine_;
  const KernelEntry* kernel_ = nullptr;
  WorkspacePlan workspace_;
  Packed packed_[kOperands];
  bool is_gathered_[kOperands] = {};  // the copy is in the order of the list
  KeyListAt key_list_;
  Binding bindings_[kMostBindings];
  int32_t binding_count_ = 0, head_dim_ = 0;
  DType dtype_ = DType::kFloat16;
  QuantGranularity granularity_ = QuantGranularity::kPerThread;
  bool smooth_k_ = true;
  bool aligned_[kOperands] = {};
};

static_assert(std::is_trivially_copyable_v<AttentionPlan>, "callers keep plans in storage of their own");

}  // namespace attn4j
