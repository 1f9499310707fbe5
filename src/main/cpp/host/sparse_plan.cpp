#include "host/sparse_plan.h"

#include <algorithm>
#include <cmath>
#include <iterator>

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

// What a token order can't go with, as RefusalReason::kTokenOrder finds it; 0: nothing.
int64_t order_conflict(BlockSource source, const AttentionPlan& attention) {
  const AttentionArgs& a = attention.args();
  return source == BlockSource::kGiven   ? 5
         : a.causal_offset != kNotCausal ? 2
         : a.kv_lengths != nullptr       ? 3
         : a.lq != a.lk                  ? 4
         : !attention.takes_extras()     ? 1
                                         : 0;
}

Status require_presence(const char* name, bool planned, const void* found) {
  if (planned == (found != nullptr)) return Status::kOk;
  return fail(Status::kInvalidArgument, "%s: is %s null; the plan was made with an address that %s", name,
              planned ? "" : "not", planned ? "wasn't" : "was");
}

Status require_order(const void* order) {
  if (reinterpret_cast<uintptr_t>(order) % 4 == 0) return Status::kOk;
  return fail(Status::kInvalidArgument, "token_order: is at %p; int32 needs an address aligned to 4 bytes", order);
}

int32_t blocks_of(int32_t rows, int32_t block) { return (rows + block - 1) / block; }

}  // namespace

BlockGrid block_grid(const AttentionPlan& attention) {
  const KernelEntry& kernel = attention.kernel();
  BlockGrid grid;
  grid.query_block = kernel.query_tile;
  grid.key_block = kernel.key_tile;
  grid.query_blocks = blocks_of(attention.args().lq, kernel.query_tile);
  grid.key_blocks = blocks_of(attention.args().lk, kernel.key_tile);
  return grid;
}

Status SparsePlan::make(BlockSource source, const SparsityParams& sparsity, const AttentionPlan& attention,
                        Refusal* refusal) {
  ATTN4J_RETURN_IF_ERROR(validate_sparsity(source, sparsity));
  ATTN4J_RETURN_IF_ERROR(require_order(sparsity.token_order));
  source_ = source;
  pv_threshold_ = sparsity.pvthreshd;
  mask_given_ = source == BlockSource::kGiven;
  map_wanted_ = sparsity.block_map != nullptr;
  sparsity_wanted_ = sparsity.sparsity != nullptr;
  ordered_ = sparsity.token_order != nullptr;
  if (const int64_t conflict = ordered_ ? order_conflict(source, attention) : 0) {
    *refusal = {RefusalReason::kTokenOrder, conflict};
    return report(*refusal, "SpargeAttn");
  }
  const void* const arrays[4] = {sparsity.simthreshd1_per_head, sparsity.cdfthreshd_per_head, sparsity.topk_per_head,
                                 sparsity.pvthreshd_per_head};
  for (int i = 0; i < 4; i++) per_head_[i] = arrays[i] != nullptr;
  const AttentionArgs& a = attention.args();
  const KernelEntry& kernel = attention.kernel();
  SelectArgs& s = select_;
  s.batch = a.batch, s.heads_q = a.heads_q, s.group = a.group, s.lq = a.lq, s.lk = a.lk;
  s.causal_offset = a.causal_offset;
  s.query_block = kernel.query_tile, s.key_block = kernel.key_tile;
  s.query_blocks = blocks_of(a.lq, s.query_block), s.key_blocks = blocks_of(a.lk, s.key_block);
  s.scale_log2 = a.scale_log2 * a.q_sign;
  s.similarity_threshold.value = sparsity.simthreshd1;
  if (source != BlockSource::kRank) s.mass_threshold.value = sparsity.cdfthreshd;
  s.topk.value = sparsity.topk;
  s.sink = sparsity.attention_sink;
  s.finished_is_zero = attention.takes_extras();

  const int64_t heads = static_cast<int64_t>(a.batch) * a.heads_q, rows = heads * s.query_blocks;
  at_.list = workspace_.add(rows * s.key_blocks * sizeof(int32_t));
  at_.count = workspace_.add(rows * sizeof(int32_t));
  at_.order = workspace_.add(rows * sizeof(int32_t));
  at_.finished = workspace_.add(heads * sizeof(int32_t));
  if (source == BlockSource::kGiven) return Status::kOk;
  const int64_t kv_blocks = static_cast<int64_t>(a.batch) * a.heads_kv * s.key_blocks;
  if (s.key_blocks > most_key_blocks()) {
    *refusal = {RefusalReason::kKeys, a.lk, int64_t{most_key_blocks()} * s.key_block};
  } else if (rows + kv_blocks > kMaxCtas) {
    *refusal = {RefusalReason::kBlocks, rows + kv_blocks, kMaxCtas};
  }
  if (*refusal) return report(*refusal, "SpargeAttn's prediction");
  s.pitch = blocks_of(a.head_dim, SelectArgs::kPitchStep) * SelectArgs::kPitchStep;
  at_.q_means = workspace_.add(rows * s.pitch * sizeof(float));
  at_.k_means = workspace_.add(kv_blocks * s.pitch * sizeof(float));
  at_.q_similarity = workspace_.add(rows * sizeof(float));
  at_.k_similarity = workspace_.add(kv_blocks * sizeof(float));
  return Status::kOk;
}

int32_t SparsePlan::launches(const AttentionPlan& attention) const {
  if (attention.args().batch == 0 || attention.args().heads_q == 0) return 0;
  if (attention.writes_nothing()) return sparsity_wanted_ ? 1 : 0;
  const bool pools = source_ != BlockSource::kGiven && !attention.takes_extras();
  return attention.launches() + (pools ? 1 : 0) + (select_.finished_is_zero ? 1 : 2);
}

Status SparsePlan::check_addresses(const PlanAddresses& to, const void* q, int* device) const {
  const bool blocks = select_.key_blocks > 0;
  const NamedAddress addresses[] = {
      {"q", q},
      {"simthreshd1_per_head", to.simthreshd1_per_head},
      {"cdfthreshd_per_head", to.cdfthreshd_per_head},
      {"topk_per_head", to.topk_per_head},
      {"pvthreshd_per_head", to.pvthreshd_per_head},
      {"token_order", to.token_order},
      {"block_mask", blocks ? to.block_mask : nullptr},
      {"block_map", blocks ? to.block_map : nullptr},
      {"sparsity", to.sparsity},
  };
  return validate_device(addresses, sizeof addresses / sizeof addresses[0], device);
}

Status SparsePlan::placed(const AttentionPlan& attention, const PlanAddresses& to, SelectArgs* select) const {
  ATTN4J_RETURN_IF_ERROR(require_presence("simthreshd1_per_head", per_head_[0], to.simthreshd1_per_head));
  ATTN4J_RETURN_IF_ERROR(require_presence("cdfthreshd_per_head", per_head_[1], to.cdfthreshd_per_head));
  ATTN4J_RETURN_IF_ERROR(require_presence("topk_per_head", per_head_[2], to.topk_per_head));
  ATTN4J_RETURN_IF_ERROR(require_presence("pvthreshd_per_head", per_head_[3], to.pvthreshd_per_head));
  ATTN4J_RETURN_IF_ERROR(require_presence("block_mask", mask_given_, to.block_mask));
  ATTN4J_RETURN_IF_ERROR(require_presence("token_order", ordered_, to.token_order));
  ATTN4J_RETURN_IF_ERROR(require_order(to.token_order));
  ATTN4J_RETURN_IF_ERROR(require_presence("block_map", map_wanted_, to.block_map));
  ATTN4J_RETURN_IF_ERROR(require_presence("sparsity", sparsity_wanted_, to.sparsity));
  void* own = slice<void>(to.workspace.data, attention.workspace_size());
  SelectArgs& s = *select = select_;
  s.kv_lengths = static_cast<const int32_t*>(to.kv_lengths);
  s.similarity_threshold.values = static_cast<const float*>(to.simthreshd1_per_head);
  if (source_ != BlockSource::kRank) s.mass_threshold.values = static_cast<const float*>(to.cdfthreshd_per_head);
  s.topk.values = static_cast<const float*>(to.topk_per_head);
  s.map = static_cast<uint8_t*>(to.block_map);
  s.sparsity = static_cast<float*>(to.sparsity);
  s.report = static_cast<float*>(to.report);
  std::copy(std::begin(to.dense_heads), std::end(to.dense_heads), s.dense_heads);
  s.given = static_cast<const uint8_t*>(to.block_mask);
  s.list = slice<int32_t>(own, at_.list);
  s.count = slice<int32_t>(own, at_.count);
  s.order = slice<int32_t>(own, at_.order);
  s.finished = slice<int32_t>(own, at_.finished);
  if (source_ == BlockSource::kGiven) return Status::kOk;
  s.q_means = slice<float>(own, at_.q_means);
  s.k_means = slice<float>(own, at_.k_means);
  s.q_similarity = slice<float>(own, at_.q_similarity);
  s.k_similarity = slice<float>(own, at_.k_similarity);
  return Status::kOk;
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
Status SparsePlan::pool(const AttentionPlan& attention, const AttentionArgs& args, void* workspace, const SelectArgs& s,
                        cudaStream_t stream) const {
  if (source_ == BlockSource::kGiven || attention.takes_extras()) return Status::kOk;
  PoolTask q, k;
  q.x = attention.rows_of(AttentionPlan::kQ, args);
  q.block = s.query_block, q.blocks = s.query_blocks;
  k.x = attention.rows_of(AttentionPlan::kK, args);
  k.x.lengths = s.kv_lengths;
  k.x.samples_mean = true;
  k.sums = attention.k_sums == AttentionPlan::kNone ? nullptr : slice<float>(workspace, attention.k_sums);
  k.block = s.key_block, k.blocks = s.key_blocks;
  q.pitch = k.pitch = s.pitch;
  q.means = const_cast<float*>(s.q_means), q.similarity = const_cast<float*>(s.q_similarity);
  k.means = const_cast<float*>(s.k_means), k.similarity = const_cast<float*>(s.k_similarity);
  return check_cuda(enqueue_pool(q, k, stream), "means of blocks");
}

Status SparsePlan::run(const AttentionPlan& attention, AttentionArgs* args, const PlanAddresses& addresses,
                       cudaStream_t stream) const {
  void* const workspace = addresses.workspace.data;
  SelectArgs select;
  ATTN4J_RETURN_IF_ERROR(placed(attention, addresses, &select));
  if (attention.writes_nothing()) {  // no queries: of no blocks, none is left out
    if (addresses.sparsity == nullptr) return Status::kOk;
    const size_t bytes = sizeof(float) * args->batch * args->heads_q;
    return check_cuda(cudaMemsetAsync(addresses.sparsity, 0, bytes, stream), "cudaMemsetAsync");
  }
  const KernelEntry& kernel = attention.kernel();
  ATTN4J_RETURN_IF_ERROR(attention.place(workspace, stream, args));
  args->token_places = args->key_places = args->value_places = static_cast<const int32_t*>(addresses.token_order);
  ATTN4J_RETURN_IF_ERROR(kernel.preparation->enqueue(attention, args, workspace, extras(select), stream));
  ATTN4J_RETURN_IF_ERROR(pool(attention, *args, workspace, select, stream));
  ATTN4J_RETURN_IF_ERROR(check_cuda(enqueue_select(select, stream), "selection of blocks"));
  args->blocks.list = select.list;
  args->blocks.count = select.count;
  args->blocks.order = select.order;
  args->blocks.pv_threshold = pv_threshold_;
  args->blocks.pv_thresholds = static_cast<const float*>(addresses.pvthreshd_per_head);
  ATTN4J_RETURN_IF_ERROR(check_cuda(kernel.launch(*args, stream), kernel.name));
  return attention.copy_out(addresses.o, workspace, stream);
}

}  // namespace attn4j
