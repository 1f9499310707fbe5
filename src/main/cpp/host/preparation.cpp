#include "host/preparation.h"

#include "attention/launch.cuh"
#include "host/plan.h"
#include "host/status.h"
#include "host/validate.h"
#include "quant/quantize.h"
#include "quant/values.h"

namespace attn4j {
namespace {

int32_t round_up(int64_t x, int64_t multiple) { return static_cast<int32_t>((x + multiple - 1) / multiple * multiple); }

int64_t kv_heads(const AttentionArgs& a) { return static_cast<int64_t>(a.batch) * a.heads_kv; }

// Queries that share an INT8 scale.
int32_t query_group(QuantGranularity granularity) {
  return granularity == QuantGranularity::kPerBlock ? 128 : granularity == QuantGranularity::kPerWarp ? 32 : 1;
}

void plan_aligned(AttentionPlan* plan) {
  plan->pack(AttentionPlan::kQ);
  plan->pack_shown(AttentionPlan::kK);
  plan->pack_shown(AttentionPlan::kV);
  plan->mutable_args().vector_io = plan->is_aligned(AttentionPlan::kO);
}

Status enqueue_nothing(const AttentionPlan&, AttentionArgs*, void*, const Fp8Extras&, cudaStream_t) {
  return Status::kOk;
}

// What both INT8 preparations begin with: the sums that K's mean is made of.
void plan_int8(AttentionPlan* plan) {
  AttentionArgs& a = plan->mutable_args();
  a.lk_padded = round_up(a.lk, plan->kernel().key_tile);
  if (!plan->smooth_k() || a.lk == 0) return;
  plan->k_sums = plan->reserve(kv_heads(a) * MeanChunks::of(a.lk, true).count * a.head_dim * sizeof(float));
}

Status enqueue_k_sums(const AttentionPlan& plan, const RowsView& k, void* workspace, const float** sums,
                      cudaStream_t stream) {
  *sums = nullptr;
  if (plan.k_sums == AttentionPlan::kNone) return Status::kOk;
  float* to = slice<float>(workspace, plan.k_sums);
  *sums = to;
  return check_cuda(enqueue_mean_sums(k, to, stream), "mean of k");
}

RowsView keys_of(const AttentionPlan& plan, const AttentionArgs& args) {
  RowsView k = plan.rows_of(AttentionPlan::kK, args);
  k.lengths = args.kv_lengths;
  k.samples_mean = true;
  return k;
}

// Q is quantised by the attention kernel.
void plan_int8_keys(AttentionPlan* plan) {
  plan_int8(plan);
  AttentionArgs& a = plan->mutable_args();
  a.q_group = query_group(plan->granularity());
  if (a.lk == 0) return;
  plan->bind(&AttentionArgs::k_image, kv_heads(a) * int8_image_bytes(a.lk_padded, plan->kernel().head_dim));
  const bool corrects_lse = plan->smooth_k() && a.lse != nullptr;
  if (corrects_lse) plan->bind(&AttentionArgs::k_mean, kv_heads(a) * a.head_dim * static_cast<int64_t>(sizeof(float)));
}

// And V is read by it.
void plan_int8_image(AttentionPlan* plan) {
  plan->pack_shown(AttentionPlan::kV);
  plan_int8_keys(plan);
}

Status enqueue_image(const AttentionPlan& plan, AttentionArgs* args, void* workspace, const Fp8Extras&,
                     cudaStream_t stream) {
  if (args->lk == 0) return Status::kOk;
  const RowsView k = keys_of(plan, *args);
  Int8Image image;
  image.image = const_cast<int8_t*>(args->k_image);
  image.mean = const_cast<float*>(args->k_mean);
  image.rows_padded = args->lk_padded;
  image.compiled_d = plan.kernel().head_dim;
  image.granularity = plan.granularity();
  ATTN4J_RETURN_IF_ERROR(enqueue_k_sums(plan, k, workspace, &image.sums, stream));
  return check_cuda(enqueue_int8_image(k, image, stream), "quantisation of k");
}

// The same, and V as an image.
void plan_int8_values(AttentionPlan* plan) {
  plan->pack(AttentionPlan::kV);
  plan_int8_keys(plan);
  AttentionArgs& a = plan->mutable_args();
  if (a.lk == 0) return;
  const KernelEntry& kernel = plan->kernel();
  const bool fp8 = kernel.pv == Precision::kFp8;
  const int64_t size = sizeof(float);
  plan->bind(&AttentionArgs::v_image, value_image_bytes(kv_heads(a) * a.lk_padded, kernel.head_dim, fp8));
  plan->bind(&AttentionArgs::v_scale, kv_heads(a) * v_scale_size(kernel.head_dim) * size);
  plan->scratch = plan->reserve(kv_heads(a) * value_statistics_size(kernel.head_dim) * size);
  a.v_error_unit = value_error_unit(a.lk, kernel.largest_value);
}

Status enqueue_values(const AttentionPlan& plan, AttentionArgs* args, void* workspace, const Fp8Extras& extras,
                      cudaStream_t stream) {
  ATTN4J_RETURN_IF_ERROR(enqueue_image(plan, args, workspace, extras, stream));
  if (args->lk == 0) return Status::kOk;
  RowsView v = plan.rows_of(AttentionPlan::kV, *args);
  v.lengths = args->kv_lengths;
  v.vector_io = true;  // packed if need be
  ValueImage image;
  image.image = const_cast<uint8_t*>(args->v_image);
  image.scales = const_cast<float*>(args->v_scale);
  image.statistics = slice<float>(workspace, plan.scratch);
  image.rows_padded = args->lk_padded;
  image.compiled_d = plan.kernel().head_dim;
  image.fp8 = plan.kernel().pv == Precision::kFp8;
  image.largest = plan.kernel().largest_value;
  image.error_unit = args->v_error_unit;
  ATTN4J_RETURN_IF_ERROR(check_cuda(enqueue_value_statistics(v, image, stream), "statistics of v"));
  return check_cuda(enqueue_value_image(v, image, stream), "quantisation of v");
}

void plan_int8_pair(AttentionPlan* plan) {
  plan->pack_shown(AttentionPlan::kV);
  plan_int8(plan);
  plan->pack(AttentionPlan::kO);
  AttentionArgs& a = plan->mutable_args();
  a.vector_io = true;
  a.lq_padded = round_up(a.lq, plan->kernel().query_tile);
  const int64_t keys = kv_heads(a) * a.lk_padded, queries = static_cast<int64_t>(a.batch) * a.heads_q * a.lq_padded;
  const int64_t d = plan->kernel().head_dim, size = sizeof(float);
  plan->bind(&AttentionArgs::k_image, keys * d);
  plan->bind(&AttentionArgs::k_scale, keys / 8 * size);
  plan->bind(&AttentionArgs::q_image, queries * d);
  plan->bind(&AttentionArgs::q_scale, 2 * queries * size);
}

Status enqueue_pair(const AttentionPlan& plan, AttentionArgs* args, void* workspace, const Fp8Extras&,
                    cudaStream_t stream) {
  const RowsView k = keys_of(plan, *args);
  Int8Pair options;
  options.compiled_d = plan.kernel().head_dim;
  options.granularity = plan.granularity();
  ATTN4J_RETURN_IF_ERROR(enqueue_k_sums(plan, k, workspace, &options.sums, stream));
  return check_cuda(enqueue_int8_pair(k, plan.rows_of(AttentionPlan::kQ, *args), *args, options, stream),
                    "quantisation of q and k");
}

void plan_fp8(AttentionPlan* plan) {
  plan->pack(AttentionPlan::kQ);
  plan->pack(AttentionPlan::kK);
  plan->pack(AttentionPlan::kV);
  plan->pack(AttentionPlan::kO);
  const KernelEntry& kernel = plan->kernel();
  AttentionArgs& a = plan->mutable_args();
  a.head_dim = round_up(a.head_dim, 8);  // the packed tensors have zeros there
  a.vector_io = true;
  a.lk_padded = round_up(a.lk, kernel.key_tile);
  a.lq_padded = round_up(a.lq, kernel.query_tile);
  const Fp8Workspace bytes = fp8_workspace(kernel, a);
  plan->bind(&AttentionArgs::k_image, bytes.k_image);
  plan->bind(&AttentionArgs::k_scale, bytes.k_scale);
  if (plan->smooth_k()) plan->bind(&AttentionArgs::k_mean, bytes.k_mean);
  plan->bind(&AttentionArgs::v_image, bytes.v_image);
  plan->bind(&AttentionArgs::v_scale, bytes.v_scale);
  plan->bind(&AttentionArgs::q_image, bytes.q_image);
  plan->bind(&AttentionArgs::q_scale, bytes.q_scale);
  plan->scratch = plan->reserve(bytes.statistics);
  plan->bind(&AttentionArgs::work_counter, bytes.work_counter);
  plan->bind(&AttentionArgs::images_done, bytes.images_done);
  plan->bind(&AttentionArgs::partials, bytes.partials);
  plan->bind(&AttentionArgs::parts_done, bytes.parts_done);
  a.images_wanted = fp8_images_per_head(kernel, a);
  a.v_error_unit = fp8_error_unit(a.lk);
  fp8_divide_for(kernel, plan->machine().multiprocessors, &a);
}

Status enqueue_fp8(const AttentionPlan& plan, AttentionArgs* args, void* workspace, const Fp8Extras& extras,
                   cudaStream_t stream) {
  int multiprocessors = 0;
  ATTN4J_RETURN_IF_ERROR(check_cuda(multiprocessor_count(&multiprocessors), "cudaDeviceGetAttribute"));
  if (multiprocessors != plan.machine().multiprocessors) fp8_divide_for(plan.kernel(), multiprocessors, args);
  float* statistics = slice<float>(workspace, plan.scratch);
  return check_cuda(enqueue_sm90_prepass(plan.kernel(), *args, statistics, extras, stream),
                    "quantisation of q, k and v");
}

int32_t image_launches(const AttentionPlan& plan) {
  return plan.args().lk == 0 ? 0 : 1 + (plan.k_sums != AttentionPlan::kNone ? 1 : 0);
}

int32_t values_launches(const AttentionPlan& plan) { return plan.args().lk == 0 ? 0 : 2 + image_launches(plan); }

int32_t pair_launches(const AttentionPlan& plan) { return 1 + (plan.k_sums != AttentionPlan::kNone ? 1 : 0); }

}  // namespace

const Preparation kAlignedInputs{plan_aligned, enqueue_nothing, [](const AttentionPlan&) { return 0; }, false};
const Preparation kInt8Image{plan_int8_image, enqueue_image, image_launches, false};
const Preparation kInt8F16Values{plan_int8_values, enqueue_values, values_launches, false};
const Preparation kInt8Fp8Values = kInt8F16Values;
const Preparation kInt8Pair{plan_int8_pair, enqueue_pair, pair_launches, false};
const Preparation kFp8Images{plan_fp8, enqueue_fp8, [](const AttentionPlan&) { return 2; }, true};

}  // namespace attn4j
