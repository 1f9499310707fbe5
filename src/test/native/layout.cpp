// The memory layout that other languages, and programs compiled against an older header, rely on. A change here is a
// change of ATTN4J_ABI_VERSION.
#include <cstddef>
#include <type_traits>

#include "attn4j/attn4j.h"
#include "attn4j/plan.h"
#include "attn4j/site.h"

namespace attn4j {

static_assert(ATTN4J_ABI_VERSION == 4, "the layouts below are those of version 4");

static_assert(sizeof(TensorView) == 80);
static_assert(offsetof(TensorView, data) == 0);
static_assert(offsetof(TensorView, size) == 8);
static_assert(offsetof(TensorView, stride) == 40);
static_assert(offsetof(TensorView, dtype) == 72);

static_assert(sizeof(Workspace) == 16);
static_assert(offsetof(Workspace, data) == 0);
static_assert(offsetof(Workspace, size) == 8);

static_assert(sizeof(MaskView) == 48);
static_assert(offsetof(MaskView, stride) == 8);
static_assert(offsetof(MaskView, type) == 40);

static_assert(sizeof(KeyWindow) == 24);

static_assert(sizeof(PackedSequences) == 40 && offsetof(PackedSequences, count) == 16);

static_assert(sizeof(AttentionParams) == 528);
static_assert(offsetof(AttentionParams, q) == 0);
static_assert(offsetof(AttentionParams, k) == 80);
static_assert(offsetof(AttentionParams, v) == 160);
static_assert(offsetof(AttentionParams, o) == 240);
static_assert(offsetof(AttentionParams, lse) == 320);
static_assert(offsetof(AttentionParams, kv_lengths) == 328);
static_assert(offsetof(AttentionParams, seen) == 336);
static_assert(offsetof(AttentionParams, bias) == 384);
static_assert(offsetof(AttentionParams, window) == 432);
static_assert(offsetof(AttentionParams, tensor_layout) == 456);
static_assert(offsetof(AttentionParams, is_causal) == 460);
static_assert(offsetof(AttentionParams, causal_alignment) == 464);
static_assert(offsetof(AttentionParams, sm_scale) == 468);
static_assert(offsetof(AttentionParams, has_sm_scale) == 472);
static_assert(offsetof(AttentionParams, qk_quant_gran) == 476);
static_assert(offsetof(AttentionParams, pv_accum_dtype) == 480);
static_assert(offsetof(AttentionParams, smooth_k) == 484);
static_assert(offsetof(AttentionParams, packed) == 488);

static_assert(sizeof(KMeanParams) == 96);
static_assert(offsetof(KMeanParams, tensor_layout) == 80);
static_assert(offsetof(KMeanParams, mean) == 88);

static_assert(sizeof(QuantInt8Params) == 120);
static_assert(offsetof(QuantInt8Params, tensor_layout) == 80);
static_assert(offsetof(QuantInt8Params, granularity) == 84);
static_assert(offsetof(QuantInt8Params, is_key) == 88);
static_assert(offsetof(QuantInt8Params, mean) == 96);
static_assert(offsetof(QuantInt8Params, values) == 104);
static_assert(offsetof(QuantInt8Params, scales) == 112);

static_assert(sizeof(MergeAttnStateParams) == 248);
static_assert(offsetof(MergeAttnStateParams, part_lse) == 80);
static_assert(offsetof(MergeAttnStateParams, tensor_layout) == 88);
static_assert(offsetof(MergeAttnStateParams, is_first) == 92);
static_assert(offsetof(MergeAttnStateParams, acc) == 96);
static_assert(offsetof(MergeAttnStateParams, acc_stride) == 104);
static_assert(offsetof(MergeAttnStateParams, acc_lse) == 136);
static_assert(offsetof(MergeAttnStateParams, acc_lse_stride) == 144);
static_assert(offsetof(MergeAttnStateParams, o) == 160);
static_assert(offsetof(MergeAttnStateParams, lse) == 240);

static_assert(sizeof(SparsityParams) == 104);
static_assert(sizeof(BlockGrid) == 32);
static_assert(sizeof(PlanRequest) == 656);
static_assert(offsetof(PlanRequest, sparsity) == 528);
static_assert(offsetof(PlanRequest, function) == 632);
static_assert(offsetof(PlanRequest, device) == 636);
static_assert(offsetof(PlanRequest, multiprocessors) == 640);
static_assert(offsetof(PlanRequest, site_key) == 648);

static_assert(sizeof(PlanFacts) == 104);
static_assert(offsetof(PlanFacts, refusal) == 4);
static_assert(offsetof(PlanFacts, refusal_found) == 8);
static_assert(offsetof(PlanFacts, refusal_accepted) == 16);
static_assert(offsetof(PlanFacts, workspace_size) == 24);
static_assert(offsetof(PlanFacts, kernel) == 32);
static_assert(offsetof(PlanFacts, served_by) == 40);
static_assert(offsetof(PlanFacts, qk) == 44);
static_assert(offsetof(PlanFacts, pv) == 48);
static_assert(offsetof(PlanFacts, launches) == 52);
static_assert(offsetof(PlanFacts, estimated_seconds) == 56);
static_assert(offsetof(PlanFacts, sparse_from) == 64);
static_assert(offsetof(PlanFacts, grid) == 72);

static_assert(sizeof(PlanHandle) == 2048 && alignof(PlanHandle) == 8);
static_assert(sizeof(PlanAddresses) == 208);
static_assert(offsetof(PlanAddresses, lse) == 32);
static_assert(offsetof(PlanAddresses, seen) == 48);
static_assert(offsetof(PlanAddresses, bias) == 56);
static_assert(offsetof(PlanAddresses, simthreshd1_per_head) == 64);
static_assert(offsetof(PlanAddresses, sparsity) == 120);
static_assert(offsetof(PlanAddresses, workspace) == 128);
static_assert(offsetof(PlanAddresses, trusted) == 144);
static_assert(offsetof(PlanAddresses, report) == 152);
static_assert(offsetof(PlanAddresses, dense_heads) == 160);
static_assert(offsetof(PlanAddresses, cu_seqlens_q) == 192);
static_assert(offsetof(PlanAddresses, cu_seqlens_k) == 200);

static_assert(sizeof(SiteKey) == 80 && offsetof(SiteKey, caller) == 72);
static_assert(sizeof(SiteFacts) == 144 && offsetof(SiteFacts, dense_heads) == 112);
static_assert(sizeof(SiteDecision) == 48 && offsetof(SiteDecision, report) == 8);

static_assert(std::is_trivially_copyable_v<PlanRequest> && std::is_trivially_copyable_v<PlanFacts>);
static_assert(std::is_trivially_copyable_v<PlanHandle> && std::is_trivially_copyable_v<PlanAddresses>);
static_assert(std::is_standard_layout_v<AttentionParams> && std::is_trivially_copyable_v<AttentionParams>);
static_assert(std::is_standard_layout_v<KMeanParams> && std::is_trivially_copyable_v<KMeanParams>);
static_assert(std::is_standard_layout_v<MergeAttnStateParams> && std::is_trivially_copyable_v<MergeAttnStateParams>);
static_assert(std::is_standard_layout_v<QuantInt8Params> && std::is_trivially_copyable_v<QuantInt8Params>);

static_assert(static_cast<int>(Status::kInvalidArgument) == 1 && static_cast<int>(Status::kUnsupported) == 2);
static_assert(static_cast<int>(Status::kWorkspaceTooSmall) == 3 && static_cast<int>(Status::kCudaError) == 4);
static_assert(static_cast<int>(DType::kFloat16) == 0 && static_cast<int>(DType::kBFloat16) == 1);
static_assert(static_cast<int>(TensorLayout::kHND) == 0 && static_cast<int>(TensorLayout::kNHD) == 1);
static_assert(static_cast<int>(QuantGranularity::kPerBlock) == 0 &&
              static_cast<int>(QuantGranularity::kPerThread) == 2);
static_assert(static_cast<int>(AttentionFunction::kSageattn) == 0 &&
              static_cast<int>(AttentionFunction::kBlockSparse) == 6 &&
              static_cast<int>(AttentionFunction::kSageattnInt8Fp8) == 7);
static_assert(static_cast<int>(RefusalReason::kNone) == 0 && static_cast<int>(RefusalReason::kTokenOrder) == 11);
static_assert(static_cast<int>(MaskType::kSeen) == 0 && static_cast<int>(MaskType::kFloat32) == 3);
static_assert(static_cast<int>(Precision::k16Bit) == 0 && static_cast<int>(Precision::kFp8) == 2);
static_assert(static_cast<int>(PvAccumDType::kDefault) == 0 && static_cast<int>(PvAccumDType::kFp32Fp16) == 5);

}  // namespace attn4j
