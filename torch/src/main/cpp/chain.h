// Which kernel serves a request: the chain of org.attn4j.backend.BackendChain, of which Java hands down what the
// options and system properties make of it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "attn4j/plan.h"
#include "attn4j/site.h"
#include "outcome.h"
#include "request.h"

namespace attn4j_torch {

// The functions of one libattn4j.so, in the order of org.attn4j.torch.KernelTable.
struct Kernels {
  attn4j::Status (*plan)(const attn4j::PlanRequest&, attn4j::PlanHandle*, attn4j::PlanFacts*) noexcept;
  attn4j::Status (*run)(const attn4j::PlanHandle&, const attn4j::PlanAddresses&, CUstream_st*) noexcept;
  const char* (*last_error)() noexcept;
  int64_t (*site)(const attn4j::PlanRequest&) noexcept;
  attn4j::Status (*decide)(int64_t, attn4j::SiteMode, CUstream_st*, attn4j::SiteDecision*) noexcept;
  int32_t compute_capability;  // 10 * major + minor
};
constexpr int kKernelFunctions = 5;

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
  int32_t exact_by_name;   // whether the exact kernels are wanted, which read any mask
  int32_t min_keys;        // below, sparsity isn't tried otherwise: SpargeRule
  int32_t sage_function;   // AttentionFunction
  int32_t sparge_function;
  int32_t qk_quant_gran;
  int32_t pv_accum_dtype;
  int32_t smooth_k;
  float simthreshd1, cdfthreshd, topk, pvthreshd;
  int32_t attention_sink;
  int32_t site_mode;     // attn4j::SiteMode
  uint32_t site_key[2];  // AttentionOptions.callSite as a number: the lower half first
  int32_t rules;
  Rule rule[kMaxRules];
};

// What the chain chose.
struct Choice {
  Outcome outcome;     // served by whom, or why nobody serves
  const char* reason;  // the kernel that serves, or what the kernels said; null: nothing
  int64_t workspace_bytes;
  attn4j::PlanHandle plan;
  attn4j::SiteDecision decision;  // what the call site hands SpargeAttn's kernels
  bool site_refused;              // SpargeAttn would have served, if it paid here
};

// Finds who serves a request on a device's stream. `attention` has its tensors; the policy's options are set here.
void choose(const Kernels& kernels, const Policy& policy, const Sizes& sizes, CUstream_st* stream,
            attn4j::PlanRequest* request, Choice* choice);

// What a plan of `choice` runs with: the tensors of the request, on the device that their owner says. The workspace is
// the caller's to add.
attn4j::PlanAddresses addresses_of(const attn4j::AttentionParams& params, const Choice& choice);

}  // namespace attn4j_torch
