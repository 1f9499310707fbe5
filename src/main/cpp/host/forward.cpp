#include "host/forward.h"

#include "host/choose.h"
#include "host/status.h"
#include "host/validate.h"

namespace attn4j {
namespace {

int64_t round_up(int64_t x, int64_t multiple) { return (x + multiple - 1) / multiple * multiple; }

// Queries that share an INT8 scale.
int32_t query_group(QuantGranularity granularity) {
  switch (granularity) {
    case QuantGranularity::kPerBlock:
      return 128;
    case QuantGranularity::kPerWarp:
      return 32;
    default:
      return 1;
  }
}

const char* name_of(PvAccumDType dtype) {
  static const char* const kNames[] = {"default", "fp32", "fp16", "fp16+fp32", "fp32+fp32", "fp32+fp16"};
  return kNames[static_cast<int>(dtype)];
}

const char* name_of(QuantGranularity granularity) {
  static const char* const kNames[] = {"per block", "per warp", "per thread"};
  return kNames[static_cast<int>(granularity)];
}

Status require_accumulator(PvAccumDType found, PvAccumDType served, const char* function) {
  if (found == PvAccumDType::kDefault || found == served) return Status::kOk;
  return fail(Status::kUnsupported, "pv_accum_dtype: found %s; %s accumulates in %s", name_of(found), function,
              name_of(served));
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

bool AttentionPlan::pack(const TensorView& t, Packed* p) {
  p->original = rows_view(t, params_.tensor_layout);
  if (p->original.vector_io) return false;
  p->packed = p->original;
  p->packed.head_dim = static_cast<int32_t>(round_up(p->original.head_dim, 8));
  const int64_t row = p->packed.head_dim, head = p->packed.rows * row;
  p->packed.stride = {p->packed.heads * head, head, row};
  p->offset = workspace_.add(p->packed.batch * p->packed.stride.batch * 2);
  return true;
}

Status AttentionPlan::exact(const AttentionParams& params, AttentionPlan* plan) {
  ATTN4J_RETURN_IF_ERROR(plan->start(params));
  plan->pack(params.q, &plan->q_);
  plan->pack(params.k, &plan->k_);
  plan->pack(params.v, &plan->v_);
  AttentionArgs& a = plan->args_;
  a.vector_io = is_vector_aligned(params.o, params.tensor_layout);
  // The Hopper kernel writes whole 16-byte pieces; other outputs, and head_dim above 128, take the kernel for all.
  plan->kernel_ = a.vector_io ? find_kernel(Family::kExactWgmma, a.head_dim, params.q.dtype) : nullptr;
  return plan->kernel_ != nullptr ? Status::kOk : plan->pick(Family::kExactMma, "exact_attn");
}

Status AttentionPlan::int8_f16(const AttentionParams& params, AttentionPlan* plan) {
  const char* const function = "sageattn_qk_int8_pv_fp16_cuda";
  ATTN4J_RETURN_IF_ERROR(plan->start(params));
  plan->kernel_ = find_kernel(Family::kWgmmaInt8F16, plan->args_.head_dim, params.q.dtype);
  const bool hopper = plan->kernel_ != nullptr;
  if (!hopper) ATTN4J_RETURN_IF_ERROR(plan->pick(Family::kMmaInt8F16, function));
  ATTN4J_RETURN_IF_ERROR(require_accumulator(params.pv_accum_dtype, PvAccumDType::kFp32, function));
  AttentionArgs& a = plan->args_;
  a.lk_padded = static_cast<int32_t>(round_up(a.lk, plan->kernel_->key_tile));
  plan->pack(params.v, &plan->v_);
  plan->plan_k_sums();
  if (hopper) {
    plan->plan_int8_wgmma();
  } else {
    plan->plan_int8_mma();
  }
  return Status::kOk;
}

void AttentionPlan::plan_k_sums() {
  if (!params_.smooth_k || args_.lk == 0) return;
  const int64_t kv_heads = static_cast<int64_t>(args_.batch) * args_.heads_kv;
  int8_.mean_sums = workspace_.add(kv_heads * MeanChunks(args_.lk).count * args_.head_dim * sizeof(float));
}

// Q is quantised by the attention kernel.
void AttentionPlan::plan_int8_mma() {
  args_.q_group = query_group(params_.qk_quant_gran);
  if (args_.lk == 0) return;
  const int64_t kv_heads = static_cast<int64_t>(args_.batch) * args_.heads_kv;
  int8_.k_image = workspace_.add(kv_heads * int8_image_bytes(args_.lk_padded, kernel_->head_dim));
  if (params_.smooth_k && args_.lse != nullptr) {
    int8_.mean = workspace_.add(kv_heads * args_.head_dim * sizeof(float));
  }
}

void AttentionPlan::plan_int8_wgmma() {
  pack(params_.o, &o_);
  args_.vector_io = true;
  args_.lq_padded = static_cast<int32_t>(round_up(args_.lq, kernel_->query_tile));
  const int64_t keys = static_cast<int64_t>(args_.batch) * args_.heads_kv * args_.lk_padded;
  const int64_t queries = static_cast<int64_t>(args_.batch) * args_.heads_q * args_.lq_padded;
  const int64_t d = kernel_->head_dim, size = sizeof(float);
  int8_.k_image = workspace_.add(keys * d), int8_.k_scale = workspace_.add(keys / 8 * size);
  int8_.q_image = workspace_.add(queries * d), int8_.q_scale = workspace_.add(2 * queries * size);
}

// On Hopper the FP8 kernel, unless the request asks for what only the other one has.
Status AttentionPlan::sparse(const AttentionParams& params, AttentionPlan* plan) {
  const bool fp8 =
      params.qk_quant_gran == QuantGranularity::kPerThread &&
      (params.pv_accum_dtype == PvAccumDType::kDefault || params.pv_accum_dtype == PvAccumDType::kFp32Fp32);
  if (!fp8 || find_kernel(Family::kSparseWgmmaInt8Fp8, 1, params.q.dtype) == nullptr) {
    return sparse_int8_f16(params, plan);
  }
  ATTN4J_RETURN_IF_ERROR(plan->start(params));
  return plan->plan_fp8(Family::kSparseWgmmaInt8Fp8, "SpargeAttn");
}

Status AttentionPlan::sparse_int8_f16(const AttentionParams& params, AttentionPlan* plan) {
  const char* const function = "SpargeAttn";
  ATTN4J_RETURN_IF_ERROR(plan->start(params));
  ATTN4J_RETURN_IF_ERROR(plan->pick(Family::kSparseMmaInt8F16, function));
  ATTN4J_RETURN_IF_ERROR(require_accumulator(params.pv_accum_dtype, PvAccumDType::kFp32, function));
  AttentionArgs& a = plan->args_;
  a.lk_padded = static_cast<int32_t>(round_up(a.lk, plan->kernel_->key_tile));
  plan->pack(params.v, &plan->v_);
  plan->plan_k_sums();
  plan->plan_int8_mma();
  return Status::kOk;
}

Status AttentionPlan::int8_fp8_sm90(const AttentionParams& params, AttentionPlan* plan) {
  ATTN4J_RETURN_IF_ERROR(plan->start(params));
  return plan->plan_fp8(Family::kWgmmaInt8Fp8, "sageattn_qk_int8_pv_fp8_cuda_sm90");
}

Status AttentionPlan::plan_fp8(Family family, const char* function) {
  ATTN4J_RETURN_IF_ERROR(pick(family, function));
  const AttentionParams& params = params_;
  ATTN4J_RETURN_IF_ERROR(require_accumulator(params.pv_accum_dtype, PvAccumDType::kFp32Fp32, function));
  if (params.qk_quant_gran != QuantGranularity::kPerThread) {
    return fail(Status::kUnsupported, "qk_quant_gran: found %s; %s quantises per thread", name_of(params.qk_quant_gran),
                function);
  }
  AttentionArgs& a = args_;
  pack(params.q, &q_);
  pack(params.k, &k_);
  pack(params.v, &v_);
  pack(params.o, &o_);
  a.head_dim = static_cast<int32_t>(round_up(a.head_dim, 8));  // the packed tensors have zeros there
  a.vector_io = true;
  a.lk_padded = static_cast<int32_t>(round_up(a.lk, kernel_->key_tile));
  a.lq_padded = static_cast<int32_t>(round_up(a.lq, kernel_->query_tile));
  const Fp8Workspace bytes = fp8_workspace(*kernel_, a);
  WorkspacePlan& w = workspace_;
  auto& at = fp8_;
  at.k_image = w.add(bytes.k_image), at.k_scale = w.add(bytes.k_scale);
  at.k_mean = params.smooth_k ? w.add(bytes.k_mean) : kNone;
  at.v_image = w.add(bytes.v_image), at.v_scale = w.add(bytes.v_scale);
  at.q_image = w.add(bytes.q_image), at.q_scale = w.add(bytes.q_scale);
  at.statistics = w.add(bytes.statistics), at.work_counter = w.add(bytes.work_counter);
  at.images_done = w.add(bytes.images_done);
  at.partials = w.add(bytes.partials), at.parts_done = w.add(bytes.parts_done);
  a.images_wanted = fp8_images_per_head(*kernel_, a);
  a.v_error_unit = fp8_error_unit(a.lk);
  return Status::kOk;
}

Status AttentionPlan::sage(const AttentionParams& params, AttentionPlan* plan) {
  AttentionArgs shape;
  ATTN4J_RETURN_IF_ERROR(validate_attention(params, &shape));
  for (const SageChoice choice : sage_choices(params, shape)) {
    Status (*const make)(const AttentionParams&, AttentionPlan*) = choice == SageChoice::kExact     ? exact
                                                                   : choice == SageChoice::kInt8Fp8 ? int8_fp8_sm90
                                                                                                    : int8_f16;
    *plan = AttentionPlan();
    const Status status = make(params, plan);
    if (status != Status::kUnsupported || choice == kLastSageChoice) return status;
  }
  return Status::kUnsupported;
}

Status AttentionPlan::check_addresses(const Workspace& workspace, int* device) const {
  const NamedAddress addresses[] = {
      {"q", args_.q},
      {"k", args_.k},
      {"v", args_.v},
      {"o", args_.o},
      {"lse", args_.lse},
      {"kv_lengths", args_.kv_lengths},
      {"workspace", workspace_.size() > 0 ? workspace.data : nullptr},
  };
  return validate_device(addresses, sizeof addresses / sizeof addresses[0], device);
}

Status AttentionPlan::copy_in(Packed p, void* workspace, const void** data, Strides* stride,
                              cudaStream_t stream) const {
  if (p.offset == kNone) return Status::kOk;
  p.packed.data = slice<void>(workspace, p.offset);
  *data = p.packed.data;
  *stride = p.packed.stride;
  if (p.packed.rows == 0) return Status::kOk;
  return check_cuda(enqueue_copy_rows(p.original, p.packed, stream), "copy to aligned memory");
}

Status AttentionPlan::quantize(AttentionArgs* args, void* workspace, cudaStream_t stream,
                               const Fp8Extras& extras) const {
  switch (kernel_->family) {
    case Family::kMmaInt8F16:
    case Family::kSparseMmaInt8F16:
      return quantize_int8(args, workspace, stream);
    case Family::kWgmmaInt8F16:
      return quantize_int8_pair(args, workspace, stream);
    case Family::kWgmmaInt8Fp8:
    case Family::kSparseWgmmaInt8Fp8:
      return quantize_fp8(args, workspace, stream, extras);
    default:
      return Status::kOk;
  }
}

Status AttentionPlan::quantize_int8(AttentionArgs* args, void* workspace, cudaStream_t stream) const {
  if (int8_.k_image == kNone) return Status::kOk;
  RowsView k = rows_view(params_.k, params_.tensor_layout);
  k.lengths = args->kv_lengths;
  Int8Image image;
  image.image = slice<int8_t>(workspace, int8_.k_image);
  image.rows_padded = args->lk_padded;
  image.compiled_d = kernel_->head_dim;
  image.granularity = params_.qk_quant_gran;
  if (int8_.mean_sums != kNone) {
    float* sums = slice<float>(workspace, int8_.mean_sums);
    ATTN4J_RETURN_IF_ERROR(check_cuda(enqueue_mean_sums(k, sums, stream), "mean of k"));
    image.sums = sums;
    if (int8_.mean != kNone) image.mean = slice<float>(workspace, int8_.mean);
  }
  ATTN4J_RETURN_IF_ERROR(check_cuda(enqueue_int8_image(k, image, stream), "quantisation of k"));
  args->k_image = image.image;
  args->k_mean = image.mean;
  return Status::kOk;
}

Status AttentionPlan::quantize_int8_pair(AttentionArgs* args, void* workspace, cudaStream_t stream) const {
  RowsView k = rows_view(params_.k, params_.tensor_layout);
  k.lengths = args->kv_lengths;
  Int8Pair options;
  options.compiled_d = kernel_->head_dim;
  options.granularity = params_.qk_quant_gran;
  if (int8_.mean_sums != kNone) {
    float* sums = slice<float>(workspace, int8_.mean_sums);
    ATTN4J_RETURN_IF_ERROR(check_cuda(enqueue_mean_sums(k, sums, stream), "mean of k"));
    options.sums = sums;
  }
  args->k_image = slice<int8_t>(workspace, int8_.k_image);
  args->k_scale = slice<float>(workspace, int8_.k_scale);
  args->q_image = slice<int8_t>(workspace, int8_.q_image);
  args->q_scale = slice<float>(workspace, int8_.q_scale);
  const RowsView q = rows_view(params_.q, params_.tensor_layout);
  return check_cuda(enqueue_int8_pair(k, q, *args, options, stream), "quantisation of q and k");
}

Status AttentionPlan::quantize_fp8(AttentionArgs* args, void* workspace, cudaStream_t stream,
                                   const Fp8Extras& extras) const {
  args->k_image = slice<int8_t>(workspace, fp8_.k_image);
  args->k_scale = slice<float>(workspace, fp8_.k_scale);
  args->k_mean = fp8_.k_mean != kNone ? slice<float>(workspace, fp8_.k_mean) : nullptr;
  args->v_image = slice<uint8_t>(workspace, fp8_.v_image);
  args->v_scale = slice<float>(workspace, fp8_.v_scale);
  args->q_image = slice<int8_t>(workspace, fp8_.q_image);
  args->q_scale = slice<float>(workspace, fp8_.q_scale);
  args->work_counter = slice<int32_t>(workspace, fp8_.work_counter);
  args->images_done = slice<int32_t>(workspace, fp8_.images_done);
  args->partials = slice<float>(workspace, fp8_.partials);
  args->parts_done = slice<int32_t>(workspace, fp8_.parts_done);
  ATTN4J_RETURN_IF_ERROR(check_cuda(fp8_divide(*kernel_, args), "cudaDeviceGetAttribute"));
  float* statistics = slice<float>(workspace, fp8_.statistics);
  return check_cuda(enqueue_sm90_prepass(*kernel_, *args, statistics, extras, stream), "quantisation of q, k and v");
}

const float* AttentionPlan::k_sums(void* workspace) const {
  return int8_.mean_sums != kNone ? slice<float>(workspace, int8_.mean_sums) : nullptr;
}

Status AttentionPlan::prepare(void* workspace, cudaStream_t stream, AttentionArgs* args,
                              const Fp8Extras& extras) const {
  *args = args_;
  ATTN4J_RETURN_IF_ERROR(copy_in(q_, workspace, &args->q, &args->q_stride, stream));
  ATTN4J_RETURN_IF_ERROR(copy_in(k_, workspace, &args->k, &args->k_stride, stream));
  ATTN4J_RETURN_IF_ERROR(copy_in(v_, workspace, &args->v, &args->v_stride, stream));
  if (o_.offset != kNone) {
    args->o = slice<void>(workspace, o_.offset);
    args->o_stride = o_.packed.stride;
  }
  return quantize(args, workspace, stream, extras);
}

Status AttentionPlan::attend(const AttentionArgs& args, void* workspace, cudaStream_t stream) const {
  ATTN4J_RETURN_IF_ERROR(check_cuda(kernel_->launch(args, stream), kernel_->name));
  if (o_.offset == kNone) return Status::kOk;
  RowsView o = o_.packed;
  o.data = slice<void>(workspace, o_.offset);
  return check_cuda(enqueue_copy_rows(o, o_.original, stream), "copy of the output");
}

Status AttentionPlan::run(const Workspace& workspace, cudaStream_t stream) const {
  ATTN4J_RETURN_IF_ERROR(validate_workspace(workspace, workspace_.size()));
  if (writes_nothing()) return Status::kOk;
  int device = 0;
  ATTN4J_RETURN_IF_ERROR(check_addresses(workspace, &device));
  const DeviceScope scope(device);
  ATTN4J_RETURN_IF_ERROR(check_cuda(scope.error(), "cudaSetDevice"));
  AttentionArgs args;
  ATTN4J_RETURN_IF_ERROR(prepare(workspace.data, stream, &args));
  return attend(args, workspace.data, stream);
}

}  // namespace attn4j
