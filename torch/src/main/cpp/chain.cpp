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

void set_options(const Policy& policy, attn4j::PlanRequest* request) {
  request->attention.qk_quant_gran = static_cast<attn4j::QuantGranularity>(policy.qk_quant_gran);
  request->attention.pv_accum_dtype = static_cast<attn4j::PvAccumDType>(policy.pv_accum_dtype);
  request->attention.smooth_k = policy.smooth_k != 0;
  request->sparsity.simthreshd1 = policy.simthreshd1;
  request->sparsity.cdfthreshd = policy.cdfthreshd;
  request->sparsity.topk = policy.topk;
  request->sparsity.pvthreshd = policy.pvthreshd;
  request->sparsity.attention_sink = policy.attention_sink != 0;
  request->site_key = uint64_t{policy.site_key[1]} << 32 | policy.site_key[0];
}

// One walk along the chain.
class Walk {
 public:
  Walk(const Kernels& kernels, attn4j::PlanRequest* request, Choice* choice)
      : kernels_(kernels), request_(request), choice_(choice) {}

  // Whether a function serves; the choice's plan is its then.
  bool plans(attn4j::AttentionFunction function) {
    request_->function = function;
    return kernels_.plan(*request_, &choice_->plan, &facts_) == attn4j::Status::kOk;
  }

  bool serves(Outcome outcome, attn4j::AttentionFunction function) { return plans(function) && settle(outcome); }

  // The last plan is the one to run.
  bool settle(Outcome outcome) {
    choice_->outcome = outcome;
    choice_->reason = facts_.kernel;
    choice_->workspace_bytes = facts_.workspace_size;
    return true;
  }

  // Whether the call site decides for a sparse function (attn4j/site.h). The call is counted there.
  bool site_decides_for(attn4j::AttentionFunction function, attn4j::SiteMode mode, CUstream_st* stream) {
    request_->function = function;
    const int64_t site = kernels_.site(*request_);
    if (site < 0) return true;  // no sparse kernel serves: the plan says so
    attn4j::SiteDecision* decision = &choice_->decision;
    const bool sparse = kernels_.decide(site, mode, stream, decision) == attn4j::Status::kOk && decision->sparse;
    choice_->site_refused = !sparse;
    return sparse;
  }

  int64_t sparse_from() const { return facts_.sparse_from; }

 private:
  const Kernels& kernels_;
  attn4j::PlanRequest* request_;
  Choice* choice_;
  attn4j::PlanFacts facts_;
};

// Whether sparsity can pay: the dense kernel that would serve instead knows from how many keys on, and the call site
// whether it did before. As org.attn4j.backend.SpargeRule and SpargeBackend.
bool may_pay(const Policy& policy, const Sizes& sizes, int32_t asked, attn4j::AttentionFunction sparge,
             CUstream_st* stream, Walk* walk) {
  if (policy.sparge_by_name || !walk->plans(attn4j::AttentionFunction::kSageattn)) return true;
  if (sizes.keys < walk->sparse_from()) return false;
  const auto mode = static_cast<attn4j::SiteMode>(policy.site_mode);
  const bool others = (asked & (kAskExact | kAskPyTorch)) != 0 || policy.sage_function == 0;
  return !others || mode == attn4j::SiteMode::kAlways || walk->site_decides_for(sparge, mode, stream);
}

}  // namespace

void choose(const Kernels& kernels, const Policy& policy, const Sizes& sizes, CUstream_st* stream,
            attn4j::PlanRequest* request, Choice* choice) {
  choice->reason = nullptr;
  choice->decision = {};
  choice->site_refused = false;
  choice->outcome = Outcome::kOptions;
  if ((policy.asked & (kAskSparge | kAskSage | kAskExact)) == 0) return;
  const int32_t start = measured_start(kernels, policy, sizes);
  choice->outcome = Outcome::kThresholds;
  if (start == kAskPyTorch) return;
  const int32_t asked = start == kAskExact ? policy.asked & ~(kAskSparge | kAskSage) : policy.asked;
  const auto sage = static_cast<attn4j::AttentionFunction>(policy.sage_function);
  set_options(policy, request);
  Walk walk(kernels, request, choice);
  if ((asked & kAskSparge) != 0 && (policy.sparge_by_name || sizes.keys >= policy.min_keys)) {
    const auto sparge = static_cast<attn4j::AttentionFunction>(policy.sparge_function);
    if (may_pay(policy, sizes, asked, sparge, stream, &walk) && walk.serves(Outcome::kSparge, sparge)) return;
  }
  if ((asked & kAskSage) != 0 && walk.serves(Outcome::kSage, sage)) return;
  if ((asked & kAskExact) != 0 && walk.serves(Outcome::kExact, attn4j::AttentionFunction::kExactAttn)) return;
  choice->outcome = Outcome::kKernels;
  choice->reason = kernels.last_error();
}

attn4j::PlanAddresses addresses_of(const attn4j::AttentionParams& params, const Choice& choice) {
  attn4j::PlanAddresses a;
  a.q = params.q.data;
  a.k = params.k.data;
  a.v = params.v.data;
  a.o = params.o.data;
  a.seen = params.seen.data;
  a.bias = params.bias.data;
  a.trusted = true;
  a.report = choice.decision.report;
  std::memcpy(a.dense_heads, choice.decision.dense_heads, sizeof a.dense_heads);
  return a;
}

}  // namespace attn4j_torch
