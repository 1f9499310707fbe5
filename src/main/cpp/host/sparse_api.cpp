// The exported functions of sparse.h.
#include "attn4j/sparse.h"
#include "host/call.h"
#include "host/status.h"
#include "host/validate.h"

namespace attn4j {
namespace {

constexpr int64_t kMaxPoolHeadDim = 128, kMaxPoolRows = 1 << 29, kMaxPoolBlocks = 0x7fffffff;

PlanRequest request_of(AttentionFunction function, const AttentionParams& params, const SparsityParams& sparsity) {
  PlanRequest request;
  request.attention = params;
  request.sparsity = sparsity;
  request.function = function;
  return request;
}

}  // namespace

Status spas_sage2_attn_meansim_cuda(const AttentionParams& params, const SparsityParams& sparsity,
                                    const Workspace& workspace, CUstream_st* stream) noexcept {
  return plan_and_run(request_of(AttentionFunction::kSpasMeansim, params, sparsity), workspace, stream);
}
int64_t spas_sage2_attn_meansim_cuda_workspace_size(const AttentionParams& params,
                                                    const SparsityParams& sparsity) noexcept {
  return planned_size(request_of(AttentionFunction::kSpasMeansim, params, sparsity));
}

Status spas_sage2_attn_meansim_topk_cuda(const AttentionParams& params, const SparsityParams& sparsity,
                                         const Workspace& workspace, CUstream_st* stream) noexcept {
  return plan_and_run(request_of(AttentionFunction::kSpasMeansimTopk, params, sparsity), workspace, stream);
}
int64_t spas_sage2_attn_meansim_topk_cuda_workspace_size(const AttentionParams& params,
                                                         const SparsityParams& sparsity) noexcept {
  return planned_size(request_of(AttentionFunction::kSpasMeansimTopk, params, sparsity));
}

Status block_sparse_sage2_attn_cuda(const AttentionParams& params, const SparsityParams& sparsity,
                                    const Workspace& workspace, CUstream_st* stream) noexcept {
  return plan_and_run(request_of(AttentionFunction::kBlockSparse, params, sparsity), workspace, stream);
}
int64_t block_sparse_sage2_attn_cuda_workspace_size(const AttentionParams& params,
                                                    const SparsityParams& sparsity) noexcept {
  return planned_size(request_of(AttentionFunction::kBlockSparse, params, sparsity));
}

Status spas_block_grid(const AttentionParams& params, BlockGrid* grid) noexcept {
  if (grid == nullptr) return fail(Status::kInvalidArgument, "grid: is null");
  PlanFacts facts;
  CallPlan plan;
  ATTN4J_RETURN_IF_ERROR(plan.make(request_of(AttentionFunction::kSpasMeansim, params, {}), &facts));
  *grid = facts.grid;
  return Status::kOk;
}

Status block_pool(const BlockPoolParams& params, CUstream_st* stream) noexcept {
  ATTN4J_RETURN_IF_ERROR(validate_tensor(params.x, params.tensor_layout, "x"));
  const Shape s = shape_of(params.x, params.tensor_layout);
  if (s.head_dim < 1 || s.head_dim > kMaxPoolHeadDim) {
    return fail(Status::kUnsupported, "x: head_dim is %lld; accepted are 1 to %lld", static_cast<long long>(s.head_dim),
                static_cast<long long>(kMaxPoolHeadDim));
  }
  if (params.block < 1 || params.block > kMaxPoolRows) {
    return fail(Status::kInvalidArgument, "block: is %lld; at least 1 row is needed, and at most 2^29 are accepted",
                static_cast<long long>(params.block));
  }
  const int64_t blocks = (s.rows + params.block - 1) / params.block;
  if (s.rows > kMaxPoolRows || s.batch > kMaxPoolBlocks || s.heads > kMaxPoolBlocks ||
      (blocks > 0 && s.batch > 0 && s.heads > kMaxPoolBlocks / blocks / s.batch)) {
    return fail(Status::kUnsupported,
                "x: has %lld rows in %lld blocks and %lld * %lld heads; at most 2^29 rows and "
                "2^31 - 1 blocks are supported",
                static_cast<long long>(s.rows), static_cast<long long>(blocks), static_cast<long long>(s.batch),
                static_cast<long long>(s.heads));
  }
  if (blocks == 0 || s.batch == 0 || s.heads == 0) return Status::kOk;
  if (params.means == nullptr)
    return fail(Status::kInvalidArgument, "means: is null; it must be fp32 [b][h][blocks][d]");
  if (params.similarity == nullptr) {
    return fail(Status::kInvalidArgument, "similarity: is null; it must be fp32 [b][h][blocks]");
  }
  int device = 0;
  const NamedAddress addresses[] = {
      {"x", params.x.data}, {"shift", params.shift}, {"means", params.means}, {"similarity", params.similarity}};
  ATTN4J_RETURN_IF_ERROR(validate_device(addresses, 4, &device));
  const DeviceScope scope(device);
  ATTN4J_RETURN_IF_ERROR(check_cuda(scope.error(), "cudaSetDevice"));
  PoolTask task;
  task.x = rows_view(params.x, params.tensor_layout);
  task.shift = static_cast<const float*>(params.shift);
  task.block = static_cast<int32_t>(params.block), task.blocks = static_cast<int32_t>(blocks);
  task.pitch = task.x.head_dim;
  task.means = static_cast<float*>(params.means);
  task.similarity = static_cast<float*>(params.similarity);
  return check_cuda(enqueue_pool(task, PoolTask(), stream), "block_pool");
}

}  // namespace attn4j
