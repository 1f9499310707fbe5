// The exported functions of attn4j.h.
#include <string>

#include "attn4j/attn4j.h"
#include "host/call.h"
#include "host/recipe.h"
#include "host/status.h"
#include "host/validate.h"
#include "quant/quantize.h"

#ifndef ATTN4J_ARCHS
#error "ATTN4J_ARCHS is not set: build through cppbuild.sh"
#endif

namespace attn4j {
namespace {

PlanRequest request_of(AttentionFunction function, const AttentionParams& params) {
  PlanRequest request;
  request.attention = params;
  request.function = function;
  return request;
}

constexpr int64_t kMaxQuantHeadDim = 128;

// A tensor of the quantisation pieces.
Status validate_rows(const TensorView& t, TensorLayout layout, const char* name, RowsView* view) {
  ATTN4J_RETURN_IF_ERROR(validate_tensor(t, layout, name));
  const Shape s = shape_of(t, layout);
  if (s.head_dim < 1 || s.head_dim > kMaxQuantHeadDim) {
    return fail(Status::kUnsupported, "%s: head_dim is %lld; accepted are 1 to %lld", name,
                static_cast<long long>(s.head_dim), static_cast<long long>(kMaxQuantHeadDim));
  }
  if (s.rows > (1 << 29) || (s.batch > 0 && s.heads > INT32_MAX / s.batch)) {
    return fail(Status::kUnsupported,
                "%s: has %lld rows and %lld * %lld heads; at most 2^29 rows and 2^31 - 1 heads in all are supported",
                name, static_cast<long long>(s.rows), static_cast<long long>(s.batch), static_cast<long long>(s.heads));
  }
  *view = rows_view(t, layout);
  return Status::kOk;
}

bool is_empty(const RowsView& view) { return view.batch == 0 || view.heads == 0; }

Status plan_mean(const KMeanParams& params, RowsView* k, int64_t* bytes) {
  ATTN4J_RETURN_IF_ERROR(validate_rows(params.k, params.tensor_layout, "k", k));
  WorkspacePlan plan;
  plan.add(static_cast<int64_t>(k->batch) * k->heads * MeanChunks(k->rows).count * k->head_dim * sizeof(float));
  *bytes = plan.size();
  return Status::kOk;
}

std::string list_kernels() {
  std::string names;
  int32_t count = 0;
  const KernelEntry* entries = kernel_table(&count);
  for (int32_t i = 0; i < count; i++) names += std::string(entries[i].name) + "\n";
  return names;
}

}  // namespace

Status sageattn(const AttentionParams& params, const Workspace& workspace, CUstream_st* stream) noexcept {
  return plan_and_run(request_of(AttentionFunction::kSageattn, params), workspace, stream);
}
int64_t sageattn_workspace_size(const AttentionParams& params) noexcept {
  return planned_size(request_of(AttentionFunction::kSageattn, params));
}

Status sageattn_qk_int8_pv_fp16_cuda(const AttentionParams& params, const Workspace& workspace,
                                     CUstream_st* stream) noexcept {
  return plan_and_run(request_of(AttentionFunction::kSageattnInt8Fp16, params), workspace, stream);
}
int64_t sageattn_qk_int8_pv_fp16_cuda_workspace_size(const AttentionParams& params) noexcept {
  return planned_size(request_of(AttentionFunction::kSageattnInt8Fp16, params));
}

Status sageattn_qk_int8_pv_fp8_cuda(const AttentionParams& params, const Workspace& workspace,
                                    CUstream_st* stream) noexcept {
  return plan_and_run(request_of(AttentionFunction::kSageattnInt8Fp8, params), workspace, stream);
}
int64_t sageattn_qk_int8_pv_fp8_cuda_workspace_size(const AttentionParams& params) noexcept {
  return planned_size(request_of(AttentionFunction::kSageattnInt8Fp8, params));
}

Status sageattn_qk_int8_pv_fp8_cuda_sm90(const AttentionParams& params, const Workspace& workspace,
                                         CUstream_st* stream) noexcept {
  return plan_and_run(request_of(AttentionFunction::kSageattnInt8Fp8Sm90, params), workspace, stream);
}
int64_t sageattn_qk_int8_pv_fp8_cuda_sm90_workspace_size(const AttentionParams& params) noexcept {
  return planned_size(request_of(AttentionFunction::kSageattnInt8Fp8Sm90, params));
}

Status exact_attn(const AttentionParams& params, const Workspace& workspace, CUstream_st* stream) noexcept {
  return plan_and_run(request_of(AttentionFunction::kExactAttn, params), workspace, stream);
}
int64_t exact_attn_workspace_size(const AttentionParams& params) noexcept {
  return planned_size(request_of(AttentionFunction::kExactAttn, params));
}

const char* sageattn_kernel(const AttentionParams& params) noexcept {
  CallPlan plan;
  const Status status = plan.make(request_of(AttentionFunction::kSageattn, params), nullptr);
  return status == Status::kOk ? plan.attention().kernel().name : nullptr;
}

int64_t k_mean_workspace_size(const KMeanParams& params) noexcept {
  RowsView k;
  int64_t bytes = 0;
  const Status status = plan_mean(params, &k, &bytes);
  return status == Status::kOk ? bytes : negative(status);
}

Status k_mean(const KMeanParams& params, const Workspace& workspace, CUstream_st* stream) noexcept {
  RowsView k;
  int64_t bytes = 0;
  ATTN4J_RETURN_IF_ERROR(plan_mean(params, &k, &bytes));
  if (is_empty(k)) return Status::kOk;
  if (params.mean == nullptr) return fail(Status::kInvalidArgument, "mean: is null; it must be fp32 [b][hkv][d]");
  ATTN4J_RETURN_IF_ERROR(validate_workspace(workspace, bytes));
  int device = 0;
  const NamedAddress addresses[] = {
      {"k", k.data}, {"mean", params.mean}, {"workspace", bytes > 0 ? workspace.data : nullptr}};
  ATTN4J_RETURN_IF_ERROR(validate_device(addresses, 3, &device));
  const DeviceScope scope(device);
  ATTN4J_RETURN_IF_ERROR(check_cuda(scope.error(), "cudaSetDevice"));
  float* sums = static_cast<float*>(workspace.data);
  if (k.rows > 0) ATTN4J_RETURN_IF_ERROR(check_cuda(enqueue_mean_sums(k, sums, stream), "k_mean"));
  return check_cuda(enqueue_mean_of_sums(k, sums, static_cast<float*>(params.mean), stream), "k_mean");
}

Status quant_int8(const QuantInt8Params& params, CUstream_st* stream) noexcept {
  RowsView x;
  ATTN4J_RETURN_IF_ERROR(validate_rows(params.x, params.tensor_layout, "x", &x));
  const int granularity = static_cast<int>(params.granularity);
  if (granularity < 0 || granularity > 2) {
    return fail(Status::kInvalidArgument,
                "granularity: found %d; accepted are 0 (per block), 1 (per warp) and 2 (per thread)", granularity);
  }
  if (is_empty(x) || x.rows == 0) return Status::kOk;
  if (params.values == nullptr) return fail(Status::kInvalidArgument, "values: is null; it must be int8 [b][h][s][d]");
  if (params.scales == nullptr) return fail(Status::kInvalidArgument, "scales: is null; it must be fp32 [b][h][s]");
  int device = 0;
  const NamedAddress addresses[] = {
      {"x", x.data}, {"mean", params.mean}, {"values", params.values}, {"scales", params.scales}};
  ATTN4J_RETURN_IF_ERROR(validate_device(addresses, 4, &device));
  const DeviceScope scope(device);
  ATTN4J_RETURN_IF_ERROR(check_cuda(scope.error(), "cudaSetDevice"));
  Int8Rows out;
  out.values = static_cast<int8_t*>(params.values);
  out.scales = static_cast<float*>(params.scales);
  out.mean = static_cast<const float*>(params.mean);
  out.is_key = params.is_key;
  out.granularity = params.granularity;
  return check_cuda(enqueue_int8_rows(x, out, stream), "quant_int8");
}

const char* arch_list() noexcept { return ATTN4J_ARCHS; }

int32_t abi_version() noexcept { return ATTN4J_ABI_VERSION; }

const char* kernel_list() noexcept {
  static const std::string names = list_kernels();
  return names.c_str();
}

}  // namespace attn4j
