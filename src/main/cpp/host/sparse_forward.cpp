#include "host/sparse_forward.h"

#include <cmath>

#include "host/status.h"
#include "host/validate.h"

namespace attn4j {
namespace {

constexpr int64_t kMaxCtas = 0x7fffffff;  // of a one-dimensional grid

Status require_range(const char* name, float value, float least, float most) {
  if (value >= least && value <= most) return Status::kOk;  // false for NaN
  return fail(Status::kInvalidArgument, "%s: found %g; accepted are %g to %g", name, static_cast<double>(value),
              static_cast<double>(least), static_cast<double>(most));
}

Status validate_sparsity(BlockSource source, const SparsityParams& s) {
  ATTN4J_RETURN_IF_ERROR(require_range("pvthreshd", s.pvthreshd, 0.f, INFINITY));
  if (source == BlockSource::kGiven) {
    if (s.block_mask != nullptr) return Status::kOk;
    return fail(Status::kInvalidArgument, "block_mask: is null; it must be uint8 [b][hq][query_blocks][key_blocks]");
  }
  if (s.block_mask != nullptr) {
    return fail(Status::kInvalidArgument,
                "block_mask: is set, but the blocks are to be predicted; block_sparse_sage2_attn_cuda reads it");
  }
  ATTN4J_RETURN_IF_ERROR(require_range("simthreshd1", s.simthreshd1, -1.f, 1.f));
  if (source == BlockSource::kMass) ATTN4J_RETURN_IF_ERROR(require_range("cdfthreshd", s.cdfthreshd, 0.f, 1.f));
  ATTN4J_RETURN_IF_ERROR(require_range("topk", s.topk, 0.f, 1.f));
  if (source == BlockSource::kRank && s.topk == 0.f && s.topk_per_head == nullptr) {
    return fail(Status::kInvalidArgument, "topk: is 0; spas_sage2_attn_meansim_topk_cuda needs the share to compute");
  }
  return Status::kOk;
}

// The attention plan of a request, with a sentence of its own where SpargeAttn isn't built at all.
Status make_attention(const AttentionParams& params, AttentionPlan* plan) {
  const bool built = find_kernel(Family::kSparseMmaInt8F16, 1, DType::kFloat16) != nullptr;
  AttentionArgs ignored;
  ATTN4J_RETURN_IF_ERROR(validate_attention(params, &ignored));
  if (built) return AttentionPlan::sparse(params, plan);
  return fail(Status::kUnsupported, "SpargeAttn is not built for this architecture (%s); SageAttention is",
              arch_list());
}

PerHead per_head(float value, const void* values) { return {value, static_cast<const float*>(values)}; }

int32_t blocks_of(int32_t rows, int32_t block) { return (rows + block - 1) / block; }

}  // namespace

Status SparsePlan::grid(const AttentionParams& params, BlockGrid* grid) {
  if (grid == nullptr) return fail(Status::kInvalidArgument, "grid: is null");
  AttentionPlan attention;
  ATTN4J_RETURN_IF_ERROR(make_attention(params, &attention));
  grid->query_block = attention.kernel().query_tile;
  grid->key_block = attention.kernel().key_tile;
  grid->query_blocks = blocks_of(attention.args().lq, attention.kernel().query_tile);
  grid->key_blocks = blocks_of(attention.args().lk, attention.kernel().key_tile);
  return Status::kOk;
}

Status SparsePlan::make(BlockSource source, const AttentionParams& params, const SparsityParams& sparsity,
                        SparsePlan* plan) {
  plan->source_ = source;
  plan->sparsity_ = sparsity;
  ATTN4J_RETURN_IF_ERROR(make_attention(params, &plan->attention_));
  ATTN4J_RETURN_IF_ERROR(validate_sparsity(source, sparsity));
  return plan->plan_selection();
}

Status SparsePlan::plan_selection() {
  const AttentionArgs& a = attention_.args();
  const KernelEntry& kernel = attention_.kernel();
  SelectArgs& s = select_;
  s.batch = a.batch, s.heads_q = a.heads_q, s.group = a.group, s.lq = a.lq, s.lk = a.lk;
  s.causal_offset = a.causal_offset;
  s.kv_lengths = a.kv_lengths;
  s.query_block = kernel.query_tile, s.key_block = kernel.key_tile;
  s.query_blocks = blocks_of(a.lq, s.query_block), s.key_blocks = blocks_of(a.lk, s.key_block);
  s.scale_log2 = a.scale_log2 * a.q_sign;
  s.similarity_threshold = per_head(sparsity_.simthreshd1, sparsity_.simthreshd1_per_head);
  s.mass_threshold = per_head(sparsity_.cdfthreshd, sparsity_.cdfthreshd_per_head);
  if (source_ == BlockSource::kRank) s.mass_threshold = {};
  s.topk = per_head(sparsity_.topk, sparsity_.topk_per_head);
  s.sink = sparsity_.attention_sink;
  s.map = static_cast<uint8_t*>(sparsity_.block_map);
  s.sparsity = static_cast<float*>(sparsity_.sparsity);
  s.given = source_ == BlockSource::kGiven ? static_cast<const uint8_t*>(sparsity_.block_mask) : nullptr;

  const int64_t heads = static_cast<int64_t>(a.batch) * a.heads_q, rows = heads * s.query_blocks;
  at_.list = workspace_.add(rows * s.key_blocks * sizeof(int32_t));
  at_.count = workspace_.add(rows * sizeof(int32_t));
  at_.order = workspace_.add(rows * sizeof(int32_t));
  at_.finished = workspace_.add(heads * sizeof(int32_t));
  if (source_ == BlockSource::kGiven) return Status::kOk;
  if (s.key_blocks > most_key_blocks()) {
    return fail(Status::kUnsupported, "k: sequence length is %d; blocks can be predicted up to %d", a.lk,
                most_key_blocks() * s.key_block);
  }
  const int64_t kv_blocks = static_cast<int64_t>(a.batch) * a.heads_kv * s.key_blocks;
  if (rows + kv_blocks > kMaxCtas) {
    return fail(Status::kUnsupported, "q: has %lld blocks and k %lld; at most %lld in all are supported",
                static_cast<long long>(rows), static_cast<long long>(kv_blocks), static_cast<long long>(kMaxCtas));
  }
  s.pitch = blocks_of(a.head_dim, SelectArgs::kPitchStep) * SelectArgs::kPitchStep;
  at_.q_means = workspace_.add(rows * s.pitch * sizeof(float));
  at_.k_means = workspace_.add(kv_blocks * s.pitch * sizeof(float));
  at_.q_similarity = workspace_.add(rows * sizeof(float));
  at_.k_similarity = workspace_.add(kv_blocks * sizeof(float));
  return Status::kOk;
}

Status SparsePlan::check_addresses(const Workspace& workspace, int* device) const {
  ATTN4J_RETURN_IF_ERROR(attention_.check_addresses(workspace, device));
  const SparsityParams& s = sparsity_;
  const NamedAddress addresses[] = {
      {"q", attention_.args().q},
      {"simthreshd1_per_head", s.simthreshd1_per_head},
      {"cdfthreshd_per_head", s.cdfthreshd_per_head},
      {"topk_per_head", s.topk_per_head},
      {"pvthreshd_per_head", s.pvthreshd_per_head},
      {"block_mask", select_.key_blocks > 0 ? s.block_mask : nullptr},
      {"block_map", select_.key_blocks > 0 ? s.block_map : nullptr},
      {"sparsity", s.sparsity},
  };
  return validate_device(addresses, sizeof addresses / sizeof addresses[0], device);
}

SelectArgs SparsePlan::placed(void* workspace) const {
  void* own = slice<void>(workspace, attention_.workspace_size());
  SelectArgs select = select_;
  select.list = slice<int32_t>(own, at_.list);
  select.count = slice<int32_t>(own, at_.count);
  select.order = slice<int32_t>(own, at_.order);
  select.finished = slice<int32_t>(own, at_.finished);
  select.finished_is_zero = attention_.takes_extras();
  if (source_ == BlockSource::kGiven) return select;
  select.q_means = slice<float>(own, at_.q_means);
  select.k_means = slice<float>(own, at_.k_means);
  select.q_similarity = slice<float>(own, at_.q_similarity);
  select.k_similarity = slice<float>(own, at_.k_similarity);
  return select;
}

// The quantisation pools the blocks as it goes, and clears the counter of the selection.
Fp8Extras SparsePlan::extras(const SelectArgs& s) const {
  Fp8Extras e;
  e.cleared = s.finished, e.cleared_count = s.batch * s.heads_q;
  if (source_ == BlockSource::kGiven) return e;
  e.q.block = s.query_block, e.q.blocks = s.query_blocks;
  e.k.block = s.key_block, e.k.blocks = s.key_blocks;
  e.q.pitch = e.k.pitch = s.pitch;
  e.q.means = const_cast<float*>(s.q_means), e.q.similarity = const_cast<float*>(s.q_similarity);
  e.k.means = const_cast<float*>(s.k_means), e.k.similarity = const_cast<float*>(s.k_similarity);
  return e;
}

// The same as a kernel of its own, after a quantisation that doesn't.
Status SparsePlan::pool(void* workspace, const SelectArgs& s, cudaStream_t stream) const {
  if (source_ == BlockSource::kGiven || attention_.takes_extras()) return Status::kOk;
  PoolTask q, k;
  q.x = rows_view(attention_.params().q, attention_.params().tensor_layout);
  q.block = s.query_block, q.blocks = s.query_blocks;
  k.x = rows_view(attention_.params().k, attention_.params().tensor_layout);
  k.x.lengths = s.kv_lengths;
  k.sums = attention_.k_sums(workspace);
  k.block = s.key_block, k.blocks = s.key_blocks;
  q.pitch = k.pitch = s.pitch;
  q.means = const_cast<float*>(s.q_means), q.similarity = const_cast<float*>(s.q_similarity);
  k.means = const_cast<float*>(s.k_means), k.similarity = const_cast<float*>(s.k_similarity);
  return check_cuda(enqueue_pool(q, k, stream), "means of blocks");
}

Status SparsePlan::run(const Workspace& workspace, cudaStream_t stream) const {
  ATTN4J_RETURN_IF_ERROR(validate_workspace(workspace, workspace_size()));
  const AttentionArgs& shape = attention_.args();
  if (shape.batch == 0 || shape.heads_q == 0) return Status::kOk;  // nothing to write
  int device = 0;
  ATTN4J_RETURN_IF_ERROR(check_addresses(workspace, &device));
  const DeviceScope scope(device);
  ATTN4J_RETURN_IF_ERROR(check_cuda(scope.error(), "cudaSetDevice"));
  if (attention_.writes_nothing()) {  // no queries: of no blocks, none is left out
    if (sparsity_.sparsity == nullptr) return Status::kOk;
    const size_t bytes = sizeof(float) * shape.batch * shape.heads_q;
    return check_cuda(cudaMemsetAsync(sparsity_.sparsity, 0, bytes, stream), "cudaMemsetAsync");
  }
  AttentionArgs args;
  const SelectArgs select = placed(workspace.data);
  ATTN4J_RETURN_IF_ERROR(attention_.prepare(workspace.data, stream, &args, extras(select)));
  ATTN4J_RETURN_IF_ERROR(pool(workspace.data, select, stream));
  ATTN4J_RETURN_IF_ERROR(check_cuda(enqueue_select(select, stream), "selection of blocks"));
  args.blocks.list = select.list;
  args.blocks.count = select.count;
  args.blocks.order = select.order;
  args.blocks.pv_threshold = sparsity_.pvthreshd;
  args.blocks.pv_thresholds = static_cast<const float*>(sparsity_.pvthreshd_per_head);
  return attention_.attend(args, workspace.data, stream);
}

}  // namespace attn4j
