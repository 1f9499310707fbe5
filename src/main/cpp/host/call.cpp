#include "host/call.h"

#include <new>

#include "host/status.h"
#include "host/validate.h"

namespace attn4j {
namespace {

constexpr AttentionFunction kLastFunction = AttentionFunction::kSageattnInt8Fp8;

BlockSource source_of(AttentionFunction function) {
  return function == AttentionFunction::kSpasMeansim       ? BlockSource::kMass
         : function == AttentionFunction::kSpasMeansimTopk ? BlockSource::kRank
                                                           : BlockSource::kGiven;
}

bool is_sparse_function(AttentionFunction function) {
  return function >= AttentionFunction::kSpasMeansim && function <= AttentionFunction::kBlockSparse;
}

Status validate_request(const PlanRequest& r) {
  const int function = static_cast<int>(r.function);
  if (function < 0 || function > static_cast<int>(kLastFunction)) {
    return fail(Status::kInvalidArgument, "function: found %d; accepted are 0 to %d", function,
                static_cast<int>(kLastFunction));
  }
  if (r.device < -1) {
    return fail(Status::kInvalidArgument, "device: is %d; a device number or -1 is accepted", r.device);
  }
  if (r.multiprocessors < 0) {
    return fail(Status::kInvalidArgument, "multiprocessors: is %d; it must not be negative", r.multiprocessors);
  }
  return Status::kOk;
}

Machine machine_for(const PlanRequest& r) {
  if (r.multiprocessors > 0) return machine_of(r.multiprocessors);
  const int32_t found = r.device >= 0 ? multiprocessors_of(r.device) : 0;
  return found > 0 ? machine_of(found) : current_machine();
}

AttentionFunction public_name(const KernelEntry& kernel, AttentionFunction asked) {
  switch (kernel.function) {
    case Function::kExact:
      return AttentionFunction::kExactAttn;
    case Function::kInt8F16:
      return AttentionFunction::kSageattnInt8Fp16;
    case Function::kInt8Fp8:
      return AttentionFunction::kSageattnInt8Fp8;
    case Function::kInt8Fp8Sm90:
      return AttentionFunction::kSageattnInt8Fp8Sm90;
    case Function::kSparse:
      break;
  }
  return asked;
}

// The addresses of a request, as those of a run.
PlanAddresses addresses_of(const AttentionParams& p, const SparsityParams& s, const Workspace& workspace) {
  PlanAddresses a;
  a.q = p.q.data, a.k = p.k.data, a.v = p.v.data, a.o = p.o.data;
  a.lse = p.lse, a.kv_lengths = p.kv_lengths;
  a.seen = p.seen.data, a.bias = p.bias.data;
  a.cu_seqlens_q = p.packed.cu_seqlens_q, a.cu_seqlens_k = p.packed.cu_seqlens_k;
  a.simthreshd1_per_head = s.simthreshd1_per_head, a.cdfthreshd_per_head = s.cdfthreshd_per_head;
  a.topk_per_head = s.topk_per_head, a.pvthreshd_per_head = s.pvthreshd_per_head;
  a.token_order = s.token_order;
  a.block_mask = s.block_mask, a.block_map = s.block_map, a.sparsity = s.sparsity;
  a.workspace = workspace;
  return a;
}

const CallPlan* held_by(const PlanHandle& handle) {
  const CallPlan* plan = std::launder(reinterpret_cast<const CallPlan*>(handle.opaque));
  if (plan->is_made()) return plan;
  fail(Status::kInvalidArgument, "plan: plan_attention of this library has not made it");
  return nullptr;
}

}  // namespace

Status CallPlan::plan(const PlanRequest& request, Refusal* refusal) {
  ATTN4J_RETURN_IF_ERROR(validate_request(request));
  AttentionArgs args;
  const Status valid = validate_attention(request.attention, &args);
  if (valid == Status::kUnsupported) *refusal = {RefusalReason::kLimits};
  if (valid != Status::kOk) return valid;
  device_ = request.device;
  is_sparse_ = is_sparse_function(request.function);
  ATTN4J_RETURN_IF_ERROR(attention_.make(request.function, request.attention, args, machine_for(request), refusal));
  if (is_sparse_) {
    ATTN4J_RETURN_IF_ERROR(sparse_.make(source_of(request.function), request.sparsity, attention_, refusal));
  }
  mark_ = kMark;
  return Status::kOk;
}

void CallPlan::tell(PlanFacts* facts) const {
  const KernelEntry& kernel = attention_.kernel();
  facts->workspace_size = workspace_size();
  facts->kernel = kernel.name;
  facts->qk = kernel.qk, facts->pv = kernel.pv;
  facts->launches = is_sparse_ ? sparse_.launches(attention_) : attention_.launches();
  if (kernel.cost.plain > 0 || kernel.seconds != nullptr) {
    facts->estimated_seconds = static_cast<float>(seconds_of(kernel, attention_.args(), attention_.machine()));
  }
  facts->sparse_from = kernel.sparse_from;
  if (is_sparse_) facts->grid = block_grid(attention_);
}

Status CallPlan::make(const PlanRequest& request, PlanFacts* facts) {
  Refusal refusal;
  const Status status = plan(request, &refusal);
  if (facts == nullptr) return status;
  *facts = PlanFacts();
  facts->status = status;
  facts->refusal = refusal.kind;
  facts->refusal_found = refusal.found, facts->refusal_accepted = refusal.accepted;
  if (status != Status::kOk) return status;
  tell(facts);
  facts->served_by = public_name(attention_.kernel(), request.function);
  return status;
}

Status CallPlan::check_addresses(const PlanAddresses& to, int* device) const {
  const NamedAddress addresses[] = {
      {"q", attention_.args().lq == 0 ? nullptr : to.q},
      {"k", attention_.args().lk == 0 ? nullptr : to.k},
      {"v", attention_.args().lk == 0 ? nullptr : to.v},
      {"o", attention_.args().lq == 0 ? nullptr : to.o},
      {"lse", to.lse},
      {"kv_lengths", to.kv_lengths},
      {"seen", to.seen},
      {"bias", to.bias},
      {"cu_seqlens_q", to.cu_seqlens_q},
      {"cu_seqlens_k", to.cu_seqlens_k},
      {"workspace", workspace_size() > 0 ? to.workspace.data : nullptr},
  };
  const int wanted = device_;
  ATTN4J_RETURN_IF_ERROR(validate_device(addresses, sizeof addresses / sizeof addresses[0], device));
  if (wanted >= 0 && *device != wanted) {
    return fail(Status::kInvalidArgument, "device: is %d, but the addresses are on device %d", wanted, *device);
  }
  return is_sparse_ ? sparse_.check_addresses(to, addresses[0].address, device) : Status::kOk;
}

Status plan_attention(const PlanRequest& request, PlanHandle* plan, PlanFacts* facts) noexcept {
  if (plan == nullptr) return fail(Status::kInvalidArgument, "plan: is null; it must be storage of the caller's");
  return (new (plan->opaque) CallPlan())->make(request, facts);
}

// One level: a run is as short as it can be.
Status run_plan(const PlanHandle& handle, const PlanAddresses& to, CUstream_st* stream) noexcept {
  const CallPlan* const plan = held_by(handle);
  if (plan == nullptr) return Status::kInvalidArgument;
  ATTN4J_RETURN_IF_ERROR(validate_workspace(to.workspace, plan->workspace_size()));
  if (plan->writes_nothing()) return Status::kOk;
  AttentionArgs args;
  ATTN4J_RETURN_IF_ERROR(plan->attention().address(to, &args));
  int device = plan->device();
  if (device < 0 || !to.trusted) ATTN4J_RETURN_IF_ERROR(plan->check_addresses(to, &device));
  const DeviceScope scope(device);
  ATTN4J_RETURN_IF_ERROR(check_cuda(scope.error(), "cudaSetDevice"));
  if (plan->is_sparse()) return plan->sparse().run(plan->attention(), &args, to, stream);
  const KernelEntry& kernel = plan->attention().kernel();
  void* const workspace = to.workspace.data;
  ATTN4J_RETURN_IF_ERROR(plan->attention().place(workspace, stream, &args));
  ATTN4J_RETURN_IF_ERROR(kernel.preparation->enqueue(plan->attention(), &args, workspace, {}, stream));
  ATTN4J_RETURN_IF_ERROR(check_cuda(kernel.launch(args, stream), kernel.name));
  return plan->attention().copy_out(to.o, workspace, stream);
}

Status plan_and_run(const PlanRequest& request, const Workspace& workspace, CUstream_st* stream) {
  PlanHandle plan;
  ATTN4J_RETURN_IF_ERROR(plan_attention(request, &plan, nullptr));
  return run_plan(plan, addresses_of(request.attention, request.sparsity, workspace), stream);
}

int64_t planned_size(const PlanRequest& request) {
  CallPlan plan;
  const Status status = plan.make(request, nullptr);
  return status == Status::kOk ? plan.workspace_size() : negative(status);
}

}  // namespace attn4j
