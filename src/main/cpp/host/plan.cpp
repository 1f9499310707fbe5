#include "host/plan.h"

#include "host/status.h"
#include "host/validate.h"

namespace attn4j {
namespace {

// What kernels serve a function, and its name in sentences. 0: sageattn, which takes the best of all.
struct Served {
  uint32_t functions;
  const char* name;
};

Served served_as(AttentionFunction function) {
  switch (function) {
    case AttentionFunction::kSageattn:
      return {0, "sageattn"};
    case AttentionFunction::kSageattnInt8Fp16:
      return {one(Function::kInt8F16), "sageattn_qk_int8_pv_fp16_cuda"};
    case AttentionFunction::kSageattnInt8Fp8:
      return {one(Function::kInt8Fp8), "sageattn_qk_int8_pv_fp8_cuda"};
    case AttentionFunction::kSageattnInt8Fp8Sm90:
      return {one(Function::kInt8Fp8Sm90), "sageattn_qk_int8_pv_fp8_cuda_sm90"};
    case AttentionFunction::kExactAttn:
      return {one(Function::kExact), "exact_attn"};
    case AttentionFunction::kSpasMeansim:
    case AttentionFunction::kSpasMeansimTopk:
    case AttentionFunction::kBlockSparse:
      break;
  }
  return {one(Function::kSparse), "SpargeAttn"};
}

bool same_presence(const void* planned, const void* found) { return (planned == nullptr) == (found == nullptr); }

Status require_address(const char* name, const void* planned, const void* found, int alignment) {
  if (!same_presence(planned, found)) {
    return fail(Status::kInvalidArgument, "%s: is %snull; the plan was made with an address that %s", name,
                found == nullptr ? "" : "not ", planned == nullptr ? "was" : "wasn't");
  }
  const uintptr_t bits = reinterpret_cast<uintptr_t>(found) % static_cast<uintptr_t>(alignment);
  if (bits == 0) return Status::kOk;
  return fail(Status::kInvalidArgument, "%s: %p is not aligned to %d bytes, as the plan's request was", name, found,
              alignment);
}

}  // namespace

Status AttentionPlan::make(AttentionFunction function, const AttentionParams& params, const AttentionArgs& args,
                           const Machine& machine, Refusal* refusal) {
  args_ = args;
  machine_ = machine;
  head_dim_ = args.head_dim;
  dtype_ = params.q.dtype;
  granularity_ = params.qk_quant_gran;
  smooth_k_ = params.smooth_k;
  const TensorView* const tensors[kOperands] = {&params.q, &params.k, &params.v, &params.o};
  for (int i = 0; i < kOperands; i++) aligned_[i] = is_vector_aligned(*tensors[i], params.tensor_layout);
  const Served served = served_as(function);
  const bool is_listed = is_listed_mask(params, args);
  if (is_listed) args_.causal_offset = kNotCausal;  // a causal mask hides nothing then
  *refusal = served.functions == 0 ? cheapest_sage(params, args_, machine, &kernel_)
                                   : cheapest(served.functions, params, args_, machine, &kernel_);
  if (*refusal) return report(*refusal, served.name);
  if (is_key_mask(params, args) && !kernel_->reads_masks) {
    key_list_.list = reserve(static_cast<int64_t>(args.batch) * args.lk * sizeof(int32_t));
    key_list_.counts = reserve(args.batch * sizeof(int32_t));
    if (!is_listed) key_list_.hidden = reserve(static_cast<int64_t>(args.batch) * ((args.lk + 31) / 32) * 4);
  }
  kernel_->preparation->plan(this);
  divide_items();
  return Status::kOk;
}

void AttentionPlan::divide_items() {
  args_.parts = parts_of(*kernel_, args_, machine_);
  const int64_t parts = int64_t{args_.parts.divided(items_of(*kernel_, args_))} * args_.parts.parts;
  if (parts == 0) return;
  bind(&AttentionArgs::partials, parts * part_floats(kernel_->query_tile, kernel_->head_dim) * int64_t{sizeof(float)});
}

RowsView AttentionPlan::rows_of(Operand operand, const AttentionArgs& a) const {
  RowsView view;
  const bool is_query = operand == kQ || operand == kO;
  view.data = operand == kQ ? a.q : operand == kK ? a.k : operand == kV ? a.v : a.o;
  view.stride = operand == kQ ? a.q_stride : operand == kK ? a.k_stride : operand == kV ? a.v_stride : a.o_stride;
  view.batch = a.batch, view.heads = is_query ? a.heads_q : a.heads_kv, view.rows = is_query ? a.lq : a.lk;
  view.head_dim = head_dim_;
  view.dtype = dtype_;
  view.vector_io = aligned_[operand];
  if (operand == kK) view.places = a.key_places;
  if (operand == kV) view.places = a.value_places;
  return view;
}

void AttentionPlan::pack(Operand operand) {
  if (!aligned_[operand]) reserve_copy(operand);
}

void AttentionPlan::pack_shown(Operand operand) {
  is_gathered_[operand] = lists_keys();
  if (is_gathered_[operand] || !aligned_[operand]) reserve_copy(operand);
}

void AttentionPlan::reserve_copy(Operand operand) {
  const RowsView x = rows_of(operand, args_);
  Packed& p = packed_[operand];
  p.head_dim = (x.head_dim + 7) / 8 * 8;
  const int64_t row = p.head_dim, head = x.rows * row;
  p.stride = {x.heads * head, head, row};
  p.offset = reserve(x.batch * p.stride.batch * 2);
}

int32_t AttentionPlan::launches() const {
  if (writes_nothing()) return 0;
  int32_t count = 1 + kernel_->preparation->launches(*this) + (lists_keys() ? 1 : 0);
  if (args_.parts.divided(items_of(*kernel_, args_)) > 0) count++;  // adds the parts up
  for (const Operand operand : {kQ, kK, kV, kO}) {
    const bool copied = packed_[operand].offset != kNone && rows_of(operand, args_).rows > 0;
    count += copied ? 1 : 0;
  }
  return count;
}

Status AttentionPlan::address(const PlanAddresses& to, AttentionArgs* args) const {
  *args = args_;
  ATTN4J_RETURN_IF_ERROR(require_address("q", args_.q, to.q, alignment_of(kQ)));
  ATTN4J_RETURN_IF_ERROR(require_address("k", args_.k, to.k, alignment_of(kK)));
  ATTN4J_RETURN_IF_ERROR(require_address("v", args_.v, to.v, alignment_of(kV)));
  ATTN4J_RETURN_IF_ERROR(require_address("o", args_.o, to.o, alignment_of(kO)));
  ATTN4J_RETURN_IF_ERROR(require_address("lse", args_.lse, to.lse, 2));
  ATTN4J_RETURN_IF_ERROR(require_address("kv_lengths", args_.kv_lengths, to.kv_lengths, 2));
  const MaskTensor &seen = args_.masks.seen, &bias = args_.masks.bias;
  ATTN4J_RETURN_IF_ERROR(require_address("seen", seen.data, to.seen, 1));
  ATTN4J_RETURN_IF_ERROR(require_address("bias", bias.data, to.bias, bias.type == MaskType::kFloat32 ? 4 : 2));
  ATTN4J_RETURN_IF_ERROR(require_address("cu_seqlens_q", args_.packed.q, to.cu_seqlens_q, 4));
  ATTN4J_RETURN_IF_ERROR(require_address("cu_seqlens_k", args_.packed.k, to.cu_seqlens_k, 4));
  ATTN4J_RETURN_IF_ERROR(validate_output(to.o, to.q, to.k, to.v));
  args->q = to.q, args->k = to.k, args->v = to.v, args->o = to.o;
  args->lse = static_cast<float*>(to.lse);
  args->kv_lengths = static_cast<const int32_t*>(to.kv_lengths);
  args->packed.q = static_cast<const int32_t*>(to.cu_seqlens_q);
  args->packed.k = static_cast<const int32_t*>(to.cu_seqlens_k);
  args->masks.seen.data = to.seen, args->masks.bias.data = to.bias;
  return Status::kOk;
}

RowsView AttentionPlan::packed_rows(Operand operand, const AttentionArgs& args, void* workspace) const {
  RowsView view = rows_of(operand, args);
  view.data = slice<void>(workspace, packed_[operand].offset);
  view.stride = packed_[operand].stride, view.head_dim = packed_[operand].head_dim;
  return view;
}

Status AttentionPlan::copy_in(Operand operand, void* workspace, AttentionArgs* args, cudaStream_t stream) const {
  RowsView from = rows_of(operand, *args);
  const RowsView to = packed_rows(operand, *args, workspace);
  if (is_gathered_[operand]) {
    from.lengths = args->kv_lengths;
    (operand == kK ? args->key_places : args->value_places) = nullptr;
  } else {
    from.places = nullptr;
  }
  (operand == kQ ? args->q : operand == kK ? args->k : args->v) = to.data;
  (operand == kQ ? args->q_stride : operand == kK ? args->k_stride : args->v_stride) = to.stride;
  if (to.rows == 0) return Status::kOk;
  return check_cuda(enqueue_copy_rows(from, to, stream), "copy to aligned memory");
}

Status AttentionPlan::list_keys(void* workspace, AttentionArgs* args, cudaStream_t stream) const {
  KeyList keys;
  keys.mask = args->masks.seen;
  keys.lengths = args->kv_lengths;
  keys.batch = args->batch, keys.rows = args->lk;
  keys.list = slice<int32_t>(workspace, key_list_.list);
  keys.counts = slice<int32_t>(workspace, key_list_.counts);
  keys.keeps_numbers = key_list_.hidden != kNone;
  if (keys.keeps_numbers) args->hidden_keys = keys.hidden = slice<uint32_t>(workspace, key_list_.hidden);
  args->key_places = args->value_places = keys.list;
  args->kv_lengths = keys.counts;
  args->masks = {};
  return check_cuda(enqueue_key_list(keys, stream), "list of the keys that the mask shows");
}

Status AttentionPlan::place(void* workspace, cudaStream_t stream, AttentionArgs* args) const {
  if (lists_keys()) ATTN4J_RETURN_IF_ERROR(list_keys(workspace, args, stream));
  for (const Operand operand : {kQ, kK, kV}) {
    if (packed_[operand].offset != kNone) ATTN4J_RETURN_IF_ERROR(copy_in(operand, workspace, args, stream));
  }
  if (packed_[kO].offset != kNone) {
    args->o = slice<void>(workspace, packed_[kO].offset);
    args->o_stride = packed_[kO].stride;
  }
  for (int32_t i = 0; i < binding_count_; i++) {
    const void* address = slice<void>(workspace, bindings_[i].offset);
    std::memcpy(reinterpret_cast<char*>(args) + bindings_[i].field, &address, sizeof address);
  }
  return Status::kOk;
}

Status AttentionPlan::copy_out(void* o, void* workspace, cudaStream_t stream) const {
  if (packed_[kO].offset == kNone) return Status::kOk;
  RowsView to = rows_of(kO, args_);
  to.data = o;
  return check_cuda(enqueue_copy_rows(packed_rows(kO, args_, workspace), to, stream), "copy of the output");
}

}  // namespace attn4j
