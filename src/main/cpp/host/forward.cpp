#include "host/forward.h"

#include "host/status.h"
#include "host/validate.h"
#include "quant/quantize.h"

namespace attn4j {
namespace {

int64_t round_up(int64_t x, int64_t multiple) { return (x + multiple - 1) / multiple * multiple; }

// Queries that share an INT8 scale.
int32_t query_group(QuantGranularity granularity) {
  switch (granularity) {
    case QuantGranularity::kPerBlock: return 128;
    case QuantGranularity::kPerWarp: return 32;
    default: return 1;
  }
}

const char* name_of(PvAccumDType dtype) {
  static const char* const kNames[] = {"default", "fp32", "fp16", "fp16+fp32", "fp32+fp32", "fp32+fp16"};
  return kNames[static_cast<int>(dtype)];
}

}  // namespace

Status AttentionPlan::start(const AttentionParams& params) {
  params_ = params;
  return validate_attention(params, &args_);
}

Status AttentionPlan::pick(Family family, const char* function) {
  kernel_ = find_kernel(family, args_.head_dim, params_.q.dtype);
  if (kernel_ != nullptr) return Status::kOk;
  return fail(Status::kUnsupported, "q: %s has no kernel for head_dim %d in this build (%s)", function, args_.head_dim,
              arch_list());
}

void AttentionPlan::add_repacked(const TensorView& t, int64_t* offset) {
  const Shape s = shape_of(t, params_.tensor_layout);
  if (is_vector_aligned(t, params_.tensor_layout) || s.rows == 0) return;
  *offset = workspace_.add(s.batch * s.heads * s.rows * round_up(s.head_dim, 8) * 2);
}

Status AttentionPlan::exact(const AttentionParams& params, AttentionPlan* plan) {
  ATTN4J_RETURN_IF_ERROR(plan->start(params));
  plan->add_repacked(params.q, &plan->q_packed_);
  plan->add_repacked(params.k, &plan->k_packed_);
  plan->add_repacked(params.v, &plan->v_packed_);
  plan->args_.vector_io = is_vector_aligned(params.o, params.tensor_layout);
  // The Hopper kernel writes whole 16-byte pieces; outputs that don't allow it, and head_dim above 128, take the other.
  plan->kernel_ = plan->args_.vector_io ? find_kernel(Family::kExactWgmma, plan->args_.head_dim, params.q.dtype) : nullptr;
  return plan->kernel_ != nullptr ? Status::kOk : plan->pick(Family::kExactMma, "exact_attn");
}

Status AttentionPlan::int8_f16(const AttentionParams& params, AttentionPlan* plan) {
  ATTN4J_RETURN_IF_ERROR(plan->start(params));
  ATTN4J_RETURN_IF_ERROR(plan->pick(Family::kMmaInt8F16, "sageattn_qk_int8_pv_fp16_cuda"));
  if (params.pv_accum_dtype != PvAccumDType::kDefault && params.pv_accum_dtype != PvAccumDType::kFp32) {
    return fail(Status::kUnsupported, "pv_accum_dtype: found %s; sageattn_qk_int8_pv_fp16_cuda accumulates in fp32",
                name_of(params.pv_accum_dtype));
  }
  AttentionArgs& a = plan->args_;
  a.q_group = query_group(params.qk_quant_gran);
  a.lk_padded = static_cast<int32_t>(round_up(a.lk, plan->kernel_->key_tile));
  plan->add_repacked(params.v, &plan->v_packed_);
  if (a.lk == 0) return Status::kOk;
  const int64_t kv_heads = static_cast<int64_t>(a.batch) * a.heads_kv;
  plan->k_image_ = plan->workspace_.add(kv_heads * int8_image_bytes(a.lk_padded, plan->kernel_->head_dim));
  if (!params.smooth_k) return Status::kOk;
  plan->mean_sums_ = plan->workspace_.add(kv_heads * MeanChunks(a.lk).count * a.head_dim * sizeof(float));
  if (a.lse != nullptr) plan->mean_ = plan->workspace_.add(kv_heads * a.head_dim * sizeof(float));
  return Status::kOk;
}

Status AttentionPlan::int8_fp8_sm90(const AttentionParams& params, AttentionPlan* plan) {
  ATTN4J_RETURN_IF_ERROR(plan->start(params));
  return plan->pick(Family::kWgmmaInt8Fp8, "sageattn_qk_int8_pv_fp8_cuda_sm90");
}

Status AttentionPlan::sage(const AttentionParams& params, AttentionPlan* plan) { return int8_f16(params, plan); }

Status AttentionPlan::check_addresses(const Workspace& workspace, int* device) const {
  const NamedAddress addresses[] = {
      {"q", args_.q}, {"k", args_.k},     {"v", args_.v},
      {"o", args_.o}, {"lse", args_.lse}, {"kv_lengths", args_.kv_lengths},
      {"workspace", workspace_.size() > 0 ? workspace.data : nullptr},
  };
  return validate_device(addresses, sizeof addresses / sizeof addresses[0], device);
}

Status AttentionPlan::repack(const TensorView& t, int64_t offset, void* workspace, const void** data, Strides* stride,
                             cudaStream_t stream) const {
  if (offset == kNone) return Status::kOk;
  const RowsView view = rows_view(t, params_.tensor_layout);
  void* packed = slice<void>(workspace, offset);
  ATTN4J_RETURN_IF_ERROR(check_cuda(enqueue_repack(view, packed, stream), "repack"));
  const int64_t row = round_up(view.head_dim, 8);
  *data = packed;
  *stride = {view.heads * view.rows * row, view.rows * row, row};
  return Status::kOk;
}

Status AttentionPlan::quantize(AttentionArgs* args, void* workspace, cudaStream_t stream) const {
  if (k_image_ == kNone) return Status::kOk;
  RowsView k = rows_view(params_.k, params_.tensor_layout);
  k.lengths = args->kv_lengths;
  Int8Image image;
  image.image = slice<int8_t>(workspace, k_image_);
  image.rows_padded = args->lk_padded;
  image.compiled_d = kernel_->head_dim;
  image.granularity = params_.qk_quant_gran;
  if (mean_sums_ != kNone) {
    float* sums = slice<float>(workspace, mean_sums_);
    ATTN4J_RETURN_IF_ERROR(check_cuda(enqueue_mean_sums(k, sums, stream), "mean of k"));
    image.sums = sums;
    if (mean_ != kNone) image.mean = slice<float>(workspace, mean_);
  }
  ATTN4J_RETURN_IF_ERROR(check_cuda(enqueue_int8_image(k, image, stream), "quantisation of k"));
  args->k_image = image.image;
  args->k_mean = image.mean;
  return Status::kOk;
}

Status AttentionPlan::run(const Workspace& workspace, cudaStream_t stream) const {
  ATTN4J_RETURN_IF_ERROR(validate_workspace(workspace, workspace_.size()));
  if (args_.lq == 0 || args_.batch == 0 || args_.heads_q == 0) return Status::kOk;  // nothing to write
  int device = 0;
  ATTN4J_RETURN_IF_ERROR(check_addresses(workspace, &device));
  const DeviceScope scope(device);
  ATTN4J_RETURN_IF_ERROR(check_cuda(scope.error(), "cudaSetDevice"));
  AttentionArgs args = args_;
  ATTN4J_RETURN_IF_ERROR(repack(params_.q, q_packed_, workspace.data, &args.q, &args.q_stride, stream));
  ATTN4J_RETURN_IF_ERROR(repack(params_.k, k_packed_, workspace.data, &args.k, &args.k_stride, stream));
  ATTN4J_RETURN_IF_ERROR(repack(params_.v, v_packed_, workspace.data, &args.v, &args.v_stride, stream));
  ATTN4J_RETURN_IF_ERROR(quantize(&args, workspace.data, stream));
  return check_cuda(kernel_->launch(args, stream), kernel_->name);
}

}  // namespace attn4j
