// attn4j: a call in two steps, for programs that make the same call again and again. A plan holds what follows from
// shapes, strides, alignment and options: which kernel, where its scratch memory lies, how work is divided. A run takes
// the plan, addresses and a stream, and enqueues: it validates nothing that the plan has validated.
//
// The functions of attn4j.h and sparse.h do both steps in one call. Rules of attn4j.h hold here too.
#pragma once

#include "attn4j/attn4j.h"
#include "attn4j/sparse.h"

namespace attn4j {

/// What is to be planned. Addresses count for their alignment, and for being null or not; a run may have others.
struct PlanRequest {
  AttentionParams attention;
  SparsityParams sparsity;  ///< read by SpargeAttn's three functions
  AttentionFunction function = AttentionFunction::kSageattn;
  /// The device that all addresses of all runs are on: the kernel is chosen for it. -1: unknown; runs ask CUDA where
  /// the addresses are, and the kernel is chosen for the current device.
  int32_t device = -1;
  /// SMs of the GPU that the kernel is chosen for, whatever there is; 0: those of the device. For tests and tables.
  int32_t multiprocessors = 0;
  /// The caller's name for the place that the call comes from, such as a layer of a model: read by attention_site
  /// alone.
  uint64_t site_key = 0;
};

/// What came of it. All but the first group is set if status is kOk.
struct PlanFacts {
  Status status = Status::kOk;
  RefusalReason refusal = RefusalReason::kNone;
  int64_t refusal_found = 0, refusal_accepted = 0;

  int64_t workspace_size = 0;                                  ///< bytes that a run needs
  const char* kernel = nullptr;                                ///< "wgmma_int8_fp8/d128/f16": of kernel_list, static
  AttentionFunction served_by = AttentionFunction::kSageattn;  ///< exact_attn where sageattn takes the exact kernel
  Precision qk = Precision::k16Bit, pv = Precision::k16Bit;
  int32_t launches = 0;         ///< kernels, copies and fills that a run enqueues
  float estimated_seconds = 0;  ///< of GPU time; 0: nobody has measured this kernel
  int64_t sparse_from = 0;      ///< keys from which SpargeAttn is worth a try instead of this kernel (docs/sparge.md)
  BlockGrid grid;               ///< of SpargeAttn's functions
};

/// Storage for a plan: the caller's, of any lifetime; copies are as good as the original. Valid in the process that
/// made it. Zeros are no plan.
struct PlanHandle {
  uint64_t opaque[256] = {};
};

/// The addresses of a run. Those that were null in the plan's request must be null, the others must not be; q, k, v and
/// o need the alignment that they had there, if that was 16 bytes or more.
struct PlanAddresses {
  const void* q = nullptr;
  const void* k = nullptr;
  const void* v = nullptr;
  void* o = nullptr;
  void* lse = nullptr;
  const void* kv_lengths = nullptr;
  const void* seen = nullptr;
  const void* bias = nullptr;
  const void* simthreshd1_per_head = nullptr;
  const void* cdfthreshd_per_head = nullptr;
  const void* topk_per_head = nullptr;
  const void* pvthreshd_per_head = nullptr;
  const void* block_mask = nullptr;
  const void* token_order = nullptr;
  void* block_map = nullptr;
  void* sparsity = nullptr;
  Workspace workspace;
  /// Everything is memory of the plan's device: CUDA isn't asked. That saves host time, and turns a wrong address from
  /// a status into a fault of the kernel. Not read if the plan has no device.
  bool trusted = false;
  /// Written by SpargeAttn's functions if not null: fp32, the share that each of the first 256 query heads left out (of
  /// the last batch entry that finished). Page-locked memory will do; it is the caller's promise that it lives.
  void* report = nullptr;
  /// A bit for each of the first 256 query heads: SpargeAttn's functions compute all its blocks.
  uint64_t dense_heads[4] = {};
  const void* cu_seqlens_q = nullptr;
  const void* cu_seqlens_k = nullptr;
};

/// Validates and plans. Enqueues nothing, reads no device memory, allocates nothing, and needs no GPU. `facts` may be
/// null. The status is also in the facts.
ATTN4J_API Status plan_attention(const PlanRequest& request, PlanHandle* plan, PlanFacts* facts) noexcept;

/// Enqueues what was planned. Any number of threads may run one plan at the same time.
ATTN4J_API Status run_plan(const PlanHandle& plan, const PlanAddresses& addresses, CUstream_st* stream) noexcept;

}  // namespace attn4j
