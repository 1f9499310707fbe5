// The rule of one call site: whether SpargeAttn pays there, from the shares that its calls report. No CUDA, no locks.
#pragma once

#include <cstdint>

#include "attn4j/site.h"

namespace attn4j {

class SiteRule {
 public:
  static constexpr int kHeads = 256;           // that report
  static constexpr float kHeadPays = 0.1f;     // a head that leaves out less computes all (upstream does the same)
  static constexpr float kMargin = 0.02f;      // above the share needed, before a site turns to sparse
  static constexpr float kWeight = 0.4f;       // of a report against those before it
  static constexpr int64_t kProbeEvery = 251;  // calls: a prime, so that layers that take turns have theirs
  static constexpr int64_t kReportEvery = 4;   // of a sparse site's calls
  static constexpr int64_t kLostAfter = 1024;  // calls after which a report isn't waited for any longer

  void make(const SiteKey& key, float needed);
  void restore(const SiteFacts& facts);

  // Counts a call. `slot` holds kHeads floats that a report is written to, or is null: then nothing can be learnt.
  SiteDecision decide(SiteMode mode, bool capturing, float* slot);

  const SiteFacts& facts() const { return facts_; }

 private:
  bool collect(const float* slot, float* shares) const;
  void learn(const float* shares);
  void settle();
  SiteDecision learning(float* slot);
  void ask(float* slot, bool whole, SiteDecision* decision);
  bool is_dense(const uint64_t heads[4], int head) const { return (heads[head / 64] >> head % 64 & 1) != 0; }

  SiteFacts facts_;
  int32_t heads_ = 0;      // that report
  bool awaiting_ = false;  // a report has been asked for and isn't in
  int64_t asked_at_ = 0;   // by which call
  uint64_t asked_dense_[4] = {};
  int64_t next_probe_ = 0, gap_ = 1;  // calls
  float share_[kHeads] = {};          // of each head, a moving average
};

}  // namespace attn4j
