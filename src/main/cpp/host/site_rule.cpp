#include "host/site_rule.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>

namespace attn4j {
namespace {

// The GPU writes these floats while the host looks.
float read(const float* place) {
  const uint32_t bits = __atomic_load_n(reinterpret_cast<const uint32_t*>(place), __ATOMIC_RELAXED);
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

void write(float* place, float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  __atomic_store_n(reinterpret_cast<uint32_t*>(place), bits, __ATOMIC_RELAXED);
}

}  // namespace

void SiteRule::make(const SiteKey& key, float needed) {
  *this = SiteRule();
  facts_.key = key;
  facts_.needed = needed;
  heads_ = std::min(key.heads_q, int32_t{kHeads});
}

void SiteRule::restore(const SiteFacts& facts) {
  make(facts.key, facts.needed);
  facts_.state = facts.state, facts_.share = facts.share;
  std::copy(std::begin(facts.dense_heads), std::end(facts.dense_heads), facts_.dense_heads);
  int paying = 0;
  for (int h = 0; h < heads_; h++) paying += is_dense(facts_.dense_heads, h) ? 0 : 1;
  for (int h = 0; h < heads_ && paying > 0; h++) {
    share_[h] = is_dense(facts_.dense_heads, h) ? 0.f : facts_.share * static_cast<float>(heads_) / paying;
  }
  if (facts_.state != SiteState::kUnknown) next_probe_ = gap_ = kProbeEvery;
}

// The report that was asked for, if all of it is in.
bool SiteRule::collect(const float* slot, float* shares) const {
  for (int h = 0; h < heads_; h++) {
    shares[h] = read(slot + h);
    if (std::isnan(shares[h])) return false;
  }
  return true;
}

void SiteRule::learn(const float* shares) {
  const bool first = facts_.state == SiteState::kUnknown;
  for (int h = 0; h < heads_; h++) {
    if (is_dense(asked_dense_, h)) continue;  // it left nothing out because it was told so
    share_[h] += (first ? 1.f : kWeight) * (shares[h] - share_[h]);
  }
  settle();
}

// State, share and dense heads from the averages.
void SiteRule::settle() {
  const SiteState before = facts_.state;
  std::fill(std::begin(facts_.dense_heads), std::end(facts_.dense_heads), 0);
  float sum = 0.f;
  for (int h = 0; h < heads_; h++) {
    if (share_[h] >= kHeadPays) {
      sum += share_[h];
    } else {
      facts_.dense_heads[h / 64] |= uint64_t{1} << h % 64;
    }
  }
  facts_.share = heads_ > 0 ? sum / static_cast<float>(heads_) : 0.f;
  const float needed = facts_.needed + (before == SiteState::kSparse ? 0.f : kMargin);
  facts_.state = facts_.share > needed ? SiteState::kSparse : SiteState::kDense;
  // What has turned is looked at again soon; so are calls of other layers that share the site.
  if (before != SiteState::kUnknown && before != facts_.state) next_probe_ = facts_.calls, gap_ = 1;
}

// This call reports; `whole`: of all heads, those that run dense otherwise included.
void SiteRule::ask(float* slot, bool whole, SiteDecision* decision) {
  for (int h = 0; h < heads_; h++) write(slot + h, std::numeric_limits<float>::quiet_NaN());
  awaiting_ = true, asked_at_ = facts_.calls;
  decision->report = slot;
  if (whole) std::fill(std::begin(decision->dense_heads), std::end(decision->dense_heads), 0);
  std::copy(std::begin(decision->dense_heads), std::end(decision->dense_heads), asked_dense_);
}

SiteDecision SiteRule::learning(float* slot) {
  float shares[kHeads];
  if (awaiting_ && collect(slot, shares)) {
    awaiting_ = false;
    learn(shares);
  }
  if (awaiting_ && facts_.calls - asked_at_ > kLostAfter) awaiting_ = false;
  SiteDecision d;
  d.sparse = facts_.state == SiteState::kSparse;
  d.reason = d.sparse                            ? SiteReason::kPays
             : facts_.state == SiteState::kDense ? SiteReason::kPaysNot
                                                 : SiteReason::kAwaited;
  if (d.sparse) std::copy(std::begin(facts_.dense_heads), std::end(facts_.dense_heads), d.dense_heads);
  if (awaiting_) return d;
  if (facts_.calls > next_probe_) {
    d.sparse = true, d.reason = SiteReason::kProbe;
    ask(slot, true, &d);
    next_probe_ = facts_.calls - 1 + gap_;
    gap_ = std::min(kProbeEvery, gap_ * 8 / 5 + 1);
  } else if (d.sparse && facts_.calls % kReportEvery == 0) {
    ask(slot, false, &d);
  }
  return d;
}

SiteDecision SiteRule::decide(SiteMode mode, bool capturing, float* slot) {
  facts_.calls++;
  SiteDecision d;
  if (mode == SiteMode::kLearn && !capturing && slot != nullptr) {
    d = learning(slot);
  } else {
    d.reason = mode != SiteMode::kLearn ? SiteReason::kMode : capturing ? SiteReason::kCapture : SiteReason::kNoMemory;
    d.sparse = mode == SiteMode::kAlways || facts_.state == SiteState::kSparse;
    if (d.sparse && mode != SiteMode::kAlways) {
      std::copy(std::begin(facts_.dense_heads), std::end(facts_.dense_heads), d.dense_heads);
    }
  }
  facts_.sparse_calls += d.sparse ? 1 : 0;
  return d;
}

}  // namespace attn4j
