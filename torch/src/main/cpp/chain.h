// Which kernel serves a request: the chain of org.attn4j.backend.BackendChain, of which Java hands down what the
// options and system properties make of it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "attn4j/attn4j.h"
#include "attn4j/sparse.h"
#include "outcome.h"
#include "request.h"

namespace attn4j_torch {

// The functions of one libattn4j.so, in the order of org.attn4j.torch.KernelTable.
struct Kernels {
  using Size = int64_t (*)(const attn4j::AttentionParams&) noexcept;
  using Run = attn4j::Status (*)(const attn4j::AttentionParams&, const attn4j::Workspace&, CUstream_st*) noexcept;
  using SparseSize = int64_t (*)(const attn4j::AttentionParams&, const attn4j::SparsityParams&) noexcept;
  using SparseRun = attn4j::Status (*)(const attn4j::AttentionParams&, const attn4j::SparsityParams&,
                                       const attn4j::Workspace&, CUstream_st*) noexcept;
  using Text = const char* (*)(const attn4j::AttentionParams&) noexcept;
  using LastError = const char* (*)() noexcept;

  struct Dense {
    Size size;
    Run run;
  };
  struct Sparse {
    SparseSize size;
    SparseRun run;
  };

  Dense sage[3];     // by org.attn4j.SageKernel: the library's choice, 16-bit P V, FP8 P V
  Sparse sparge[2];  // by mass, by rank
  Dense exact;
  Text sage_name;
  LastError last_error;
  int32_t compute_capability;  // 10 * major + minor
};
constexpr int kKernelFunctions = 14;

// Bits of Policy::asked.
constexpr int32_t kAskSparge = 1, kAskSage = 2, kAskExact = 4, kAskPyTorch = 8;

// Where calls of auto mode start that lie inside all bounds: org.attn4j.pytorch.Thresholds.
struct Rule {
  int32_t compute_capability, max_head_dim, max_queries, max_keys;
  int32_t start;  // kAskExact or kAskPyTorch
};
constexpr int kMaxRules = 64;

// What options, scope and system properties say, in the order of org.attn4j.torch.HookPolicy.
struct Policy {
  int32_t asked;           // the backends that may serve
  int32_t open;            // whether backend and mode are left open, so that the rules count
  int32_t sparge_by_name;  // whether sparsity is wanted at any length
  int32_t min_keys;        // the lengths at which sparsity is tried otherwise: SpargeRule
  int32_t min_keys_wgmma;
  int32_t sage_kernel;
  int32_t sparge_kernel;
  int32_t qk_quant_gran;
  int32_t pv_accum_dtype;
  int32_t smooth_k;
  float simthreshd1, cdfthreshd, topk, pvthreshd;
  int32_t attention_sink;
  int32_t rules;
  Rule rule[kMaxRules];
};

// What the chain chose: a function, its arguments, its scratch memory.
struct Choice {
  Outcome outcome;  // served by whom, or why nobody serves
  int64_t workspace_bytes;
  const char* reason;  // what the kernels said, or null
  attn4j::SparsityParams sparsity;
};

// Finds who serves a request; sets the policy's options in `params`.
Choice choose(const Kernels& kernels, const Policy& policy, const Sizes& sizes, attn4j::AttentionParams* params);

// Enqueues it.
attn4j::Status run(const Kernels& kernels, const Policy& policy, const Choice& choice,
                   const attn4j::AttentionParams& params, const attn4j::Workspace& workspace, CUstream_st* stream);

}  // namespace attn4j_torch
