#include "chain.h"

#include <cstring>

namespace attn4j_torch {
namespace {

// The backend that the measured rules start at; 0 where they are silent.
int32_t measured_start(const Kernels& kernels, const Policy& policy, const Sizes& sizes) {
  if (!policy.open) return 0;
  for (int i = 0; i < policy.rules; i++) {
    const Rule& rule = policy.rule[i];
    if (rule.compute_capability == kernels.compute_capability && sizes.head_dim <= rule.max_head_dim &&
        sizes.queries <= rule.max_queries && sizes.keys <= rule.max_keys) {
      return rule.start;
    }
  }
  return 0;
}

// Whether sparsity can pay, where nobody asked for it by name: org.attn4j.backend.SpargeRule.
bool sparsity_pays(const Kernels& kernels, const Policy& policy, const Sizes& sizes,
                   const attn4j::AttentionParams& params) {
  if (policy.sparge_by_name) return true;
  if (sizes.keys < policy.min_keys) return false;
  const char* dense = kernels.sage[0].size(params) < 0 ? nullptr : kernels.sage_name(params);
  if (dense == nullptr || std::strstr(dense, "wgmma") == nullptr) return true;
  return std::strstr(dense, "exact") == nullptr && sizes.keys >= policy.min_keys_wgmma;
}

attn4j::SparsityParams sparsity(const Policy& policy) {
  attn4j::SparsityParams params;
  params.simthreshd1 = policy.simthreshd1;
  params.cdfthreshd = policy.cdfthreshd;
  params.topk = policy.topk;
  params.pvthreshd = policy.pvthreshd;
  params.attention_sink = policy.attention_sink != 0;
  return params;
}

bool served(Choice* choice, Outcome outcome, int64_t bytes) {
  if (bytes < 0) return false;
  choice->outcome = outcome;
  choice->workspace_bytes = bytes;
  return true;
}

}  // namespace

Choice choose(const Kernels& kernels, const Policy& policy, const Sizes& sizes, attn4j::AttentionParams* params) {
  Choice choice{Outcome::kOptions, 0, nullptr, {}};
  if ((policy.asked & (kAskSparge | kAskSage | kAskExact)) == 0) return choice;
  int32_t start = measured_start(kernels, policy, sizes);
  if (start == kAskPyTorch) {
    choice.outcome = Outcome::kThresholds;
    return choice;
  }
  int32_t asked = start == kAskExact ? policy.asked & ~(kAskSparge | kAskSage) : policy.asked;
  params->qk_quant_gran = static_cast<attn4j::QuantGranularity>(policy.qk_quant_gran);
  params->pv_accum_dtype = static_cast<attn4j::PvAccumDType>(policy.pv_accum_dtype);
  params->smooth_k = policy.smooth_k != 0;
  if ((asked & kAskSparge) != 0 && sparsity_pays(kernels, policy, sizes, *params)) {
    choice.sparsity = sparsity(policy);
    int64_t bytes = kernels.sparge[policy.sparge_kernel].size(*params, choice.sparsity);
    if (served(&choice, Outcome::kSparge, bytes)) return choice;
  }
  if ((asked & kAskSage) != 0 && served(&choice, Outcome::kSage, kernels.sage[policy.sage_kernel].size(*params))) {
    return choice;
  }
  if ((asked & kAskExact) != 0 && served(&choice, Outcome::kExact, kernels.exact.size(*params))) return choice;
  choice.outcome = Outcome::kKernels;
  choice.reason = kernels.last_error();
  return choice;
}

attn4j::Status run(const Kernels& kernels, const Policy& policy, const Choice& choice,
                   const attn4j::AttentionParams& params, const attn4j::Workspace& workspace, CUstream_st* stream) {
  switch (choice.outcome) {
    case Outcome::kSparge:
      return kernels.sparge[policy.sparge_kernel].run(params, choice.sparsity, workspace, stream);
    case Outcome::kSage:
      return kernels.sage[policy.sage_kernel].run(params, workspace, stream);
    default:
      return kernels.exact.run(params, workspace, stream);
  }
}

}  // namespace attn4j_torch
