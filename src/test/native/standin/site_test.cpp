// The rule of call sites (site.h) against a stand-in for CUDA, whose selections leave out what the test says and report
// when it says so. No GPU; all host code is the library's own.
#include "attn4j/site.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "expect.h"
#include "standin.h"

using namespace attn4j;

namespace {

constexpr uintptr_t kStep = uintptr_t{1} << 34;

TensorView view(int place, int64_t heads, int64_t rows, int64_t head_dim) {
  TensorView t;
  t.data = reinterpret_cast<void*>(kStep * (place + 1));
  const int64_t sizes[4] = {1, heads, rows, head_dim};
  int64_t stride = 1;
  for (int i = 3; i >= 0; i--) {
    t.size[i] = sizes[i];
    t.stride[i] = stride;
    stride *= sizes[i];
  }
  return t;
}

PlanRequest request(int64_t rows = 8192, uint64_t key = 0, int64_t heads = 32, int64_t head_dim = 128) {
  PlanRequest r;
  r.attention.q = view(0, heads, rows, head_dim);
  r.attention.k = view(1, heads, rows, head_dim);
  r.attention.v = view(2, heads, rows, head_dim);
  r.attention.o = view(3, heads, rows, head_dim);
  r.function = AttentionFunction::kSpasMeansim;
  r.device = 0;
  r.site_key = key;
  return r;
}

// One call as a program makes it: decided, and run if it is sparse.
SiteDecision call(const PlanRequest& r, SiteMode mode = SiteMode::kLearn) {
  SiteDecision d;
  const int64_t site = attention_site(r);
  expect(site >= 0, "a site");
  expect(decide_site(site, mode, reinterpret_cast<CUstream_st*>(kStep), &d) == Status::kOk, "a decision");
  if (!d.sparse) return d;
  PlanHandle plan;
  PlanFacts facts;
  expect(plan_attention(r, &plan, &facts) == Status::kOk, "a plan");
  PlanAddresses a;
  a.q = r.attention.q.data, a.k = r.attention.k.data, a.v = r.attention.v.data, a.o = r.attention.o.data;
  a.workspace = {reinterpret_cast<void*>(kStep * 9), facts.workspace_size};
  a.trusted = true;
  a.report = d.report;
  std::memcpy(a.dense_heads, d.dense_heads, sizeof a.dense_heads);
  expect(run_plan(plan, a, nullptr) == Status::kOk, "a run");
  return d;
}

int sparse_among(const PlanRequest& r, int calls, SiteMode mode = SiteMode::kLearn) {
  int sparse = 0;
  for (int i = 0; i < calls; i++) sparse += call(r, mode).sparse ? 1 : 0;
  return sparse;
}

SiteFacts facts_of(const PlanRequest& r) {
  SiteFacts facts;
  expect(describe_site(attention_site(r), &facts) == Status::kOk, "facts");
  return facts;
}

void start(float share, int heads = 32) {
  forget_sites();
  standin::hold(false);
  standin::capture(false);
  standin::finish();
  standin::set_shares(std::vector<float>(heads, share));
}

// The share needed: where the measured lines of bench/results/sparge-h100.json cross dense attention.
void test_cost() {
  start(0.f);
  const struct {
    int64_t rows, head_dim;
    double measured;
  } kRows[] = {{8192, 128, 0.150}, {32768, 128, 0.084}, {8192, 64, 0.151}, {32768, 64, 0.100}};
  for (const auto& row : kRows) {
    const float needed = facts_of(request(row.rows, 0, 32, row.head_dim)).needed;
    expect(std::fabs(needed - row.measured) < 0.015,
           "needed at " + std::to_string(row.rows) + ": " + std::to_string(needed));
  }
}

// Nothing to leave out: four of the first ten calls try, then ever fewer, 4 in a thousand.
void test_nothing_to_gain() {
  start(0.f);
  const PlanRequest r = request();
  expect(sparse_among(r, 10) == 4, "tries among the first ten calls");
  expect(facts_of(r).state == SiteState::kDense, "dense after ten calls");
  sparse_among(r, 990);
  const int later = sparse_among(r, 10000);
  expect(later >= 38 && later <= 40, "4 in a thousand: " + std::to_string(later));
  const SiteFacts facts = facts_of(r);
  expect(facts.calls == 11000 && facts.share == 0.f, "counted");
}

// Half left out: sparse from the second call on, for good.
void test_gain() {
  start(0.5f);
  const PlanRequest r = request();
  expect(call(r).reason == SiteReason::kProbe, "the first call tries");
  expect(sparse_among(r, 1000) == 1000, "sparse from then on");
  const SiteFacts facts = facts_of(r);
  expect(facts.state == SiteState::kSparse && std::fabs(facts.share - 0.5f) < 1e-3f, "learnt");
  expect(facts.sparse_calls == 1001, "counted");
}

// Data that changes is noticed, in both directions.
void test_change() {
  start(0.6f);
  const PlanRequest r = request();
  sparse_among(r, 500);
  standin::set_shares(std::vector<float>(32, 0.f));
  sparse_among(r, 40);
  expect(facts_of(r).state == SiteState::kDense, "dense after 40 calls that left nothing out");
  sparse_among(r, 3000);
  standin::set_shares(std::vector<float>(32, 0.6f));
  sparse_among(r, 300);
  expect(facts_of(r).state == SiteState::kSparse, "sparse after 300 calls, of which one tried");
  // Around the share needed it doesn't go to and fro: within the margin it stays where it is.
  standin::set_shares(std::vector<float>(32, facts_of(r).needed + 0.01f));
  sparse_among(r, 1000);
  expect(facts_of(r).state == SiteState::kSparse, "still sparse");
}

// Heads that leave out little compute everything, and are asked again by the tries.
void test_heads() {
  start(0.6f);
  std::vector<float> shares(32, 0.6f);
  shares[3] = 0.05f, shares[31] = 0.f;
  standin::set_shares(shares);
  const PlanRequest r = request();
  sparse_among(r, 20);
  SiteFacts facts = facts_of(r);
  expect(facts.dense_heads[0] == (uint64_t{1} << 3 | uint64_t{1} << 31), "two dense heads");
  expect(std::fabs(facts.share - 0.6f * 30 / 32) < 1e-3f, "which leave nothing out");
  shares[3] = 0.7f;
  standin::set_shares(shares);
  sparse_among(r, 600);
  facts = facts_of(r);
  expect(facts.dense_heads[0] == uint64_t{1} << 31, "one of them pays now");
}

// The host runs ahead: nobody waits, and what isn't known runs dense.
void test_no_wait() {
  start(0.5f);
  standin::hold(true);
  const PlanRequest r = request();
  expect(call(r).reason == SiteReason::kProbe, "the first call tries");
  for (int i = 0; i < 200; i++) {
    const SiteDecision d = call(r);
    expect(!d.sparse && d.reason == SiteReason::kAwaited, "dense while the report is out");
  }
  standin::finish();
  standin::hold(false);
  expect(call(r).sparse && facts_of(r).state == SiteState::kSparse, "sparse as soon as it is in");
  // A report that never comes isn't waited for for ever.
  forget_sites();
  SiteDecision lost;
  decide_site(attention_site(r), SiteMode::kLearn, nullptr, &lost);
  sparse_among(r, 1100);
  expect(facts_of(r).state == SiteState::kSparse, "asked again after a report was lost");
}

void test_modes() {
  start(0.5f);
  const PlanRequest r = request();
  expect(sparse_among(r, 50, SiteMode::kFrozen) == 0, "frozen and unknown: dense");
  expect(sparse_among(r, 50, SiteMode::kAlways) == 50, "always is always");
  expect(facts_of(r).state == SiteState::kUnknown, "neither learns");
  standin::capture(true);
  expect(sparse_among(r, 5) == 0 && call(r).reason == SiteReason::kCapture, "captured and unknown: dense");
  standin::capture(false);
  sparse_among(r, 50);
  standin::capture(true);
  const SiteDecision d = call(r);
  expect(d.sparse && d.report == nullptr, "captured: as the site stands, without a report");
  standin::capture(false);
  expect(sparse_among(r, 50, SiteMode::kFrozen) == 50, "frozen as it stands");
  const SiteFacts before = facts_of(r);
  standin::set_shares(std::vector<float>(32, 0.f));
  sparse_among(r, 2000, SiteMode::kFrozen);
  expect(facts_of(r).share == before.share && facts_of(r).state == SiteState::kSparse, "frozen learns nothing");
}

// What one process learnt, another has.
void test_restore() {
  start(0.6f);
  std::vector<float> shares(32, 0.6f);
  shares[7] = 0.f;
  standin::set_shares(shares);
  sparse_among(request(8192, 11), 20);
  SiteFacts saved[4];
  expect(list_sites(saved, 4) == 1, "one site");
  forget_sites();
  expect(list_sites(nullptr, 0) == 0, "forgotten");
  expect(restore_site(saved[0]) == Status::kOk, "restored");
  const SiteFacts now = facts_of(request(8192, 11));
  expect(now.state == SiteState::kSparse && now.share == saved[0].share && now.calls == 0, "as it stood");
  const SiteDecision d = call(request(8192, 11), SiteMode::kFrozen);
  expect(d.sparse && d.dense_heads[0] == uint64_t{1} << 7, "with its dense heads");
  expect(!call(request(8192, 12), SiteMode::kFrozen).sparse, "another key is another site");
  SiteFacts wrong = saved[0];
  wrong.share = 1.5f;
  expect(restore_site(wrong) == Status::kInvalidArgument, "a share above 1");
}

// 512 sites at most; the one asked for longest ago goes, and its name is refused.
void test_eviction() {
  start(0.f);
  const int64_t first = attention_site(request(8192, 0));
  for (uint64_t key = 1; key < 512; key++) attention_site(request(8192, key));
  const int64_t kept = attention_site(request(8192, 1));
  expect(list_sites(nullptr, 0) == 512, "full");
  SiteDecision d;
  expect(decide_site(first, SiteMode::kLearn, nullptr, &d) == Status::kOk, "all are there: this one is the newest now");
  attention_site(request(8192, 512));
  expect(list_sites(nullptr, 0) == 512, "still 512");
  expect(decide_site(first, SiteMode::kLearn, nullptr, &d) == Status::kOk, "used of late");
  expect(decide_site(kept, SiteMode::kLearn, nullptr, &d) == Status::kOk, "this too");
  const int64_t gone = attention_site(request(8192, 513));
  for (uint64_t key = 1000; key < 1512; key++) attention_site(request(8192, key));
  expect(decide_site(gone, SiteMode::kLearn, nullptr, &d) == Status::kInvalidArgument, "made room");
  expect(std::strstr(last_error(), "made room") != nullptr, "and says so");
  expect(decide_site(-1, SiteMode::kLearn, nullptr, &d) == Status::kInvalidArgument, "no site");
}

void test_refusals() {
  PlanRequest r = request();
  r.function = AttentionFunction::kSageattn;
  expect(attention_site(r) == -static_cast<int64_t>(Status::kInvalidArgument), "a dense function has no site");
  SiteDecision d;
  expect(decide_site(attention_site(request()), static_cast<SiteMode>(3), nullptr, &d) == Status::kInvalidArgument,
         "no such mode");
  expect(attention_site(request(8192, 0, 32, 256)) == -static_cast<int64_t>(Status::kUnsupported), "no sparse kernel");
  // What makes a site: everything that changes what is left out.
  std::set<int64_t> sites{attention_site(request())};
  PlanRequest other = request();
  other.attention.is_causal = true;
  sites.insert(attention_site(other));
  other = request();
  other.sparsity.cdfthreshd = 0.5f;
  sites.insert(attention_site(other));
  other = request(9000);
  sites.insert(attention_site(other));
  other = request(8192, 1);
  sites.insert(attention_site(other));
  expect(sites.size() == 5, "five sites");
}

// Threads on shared and own sites: no call is lost, and all come to the same end.
void test_threads() {
  start(0.f);
  constexpr int kThreads = 8, kCalls = 2000;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; t++) {
    threads.emplace_back([t] {
      for (int i = 0; i < kCalls; i++) {
        SiteDecision d;
        if (decide_site(attention_site(request(8192, i % 2 == 0 ? 0 : t + 1)), SiteMode::kLearn, nullptr, &d) !=
            Status::kOk) {
          std::abort();
        }
        if (d.report != nullptr) {  // what the GPU does
          for (int h = 0; h < 32; h++) static_cast<volatile float*>(d.report)[h] = 0.f;
        }
      }
    });
  }
  for (std::thread& t : threads) t.join();
  SiteFacts facts[16];
  expect(list_sites(facts, 16) == kThreads + 1, "nine sites");
  int64_t calls = 0, sparse = 0;
  for (int i = 0; i <= kThreads; i++) calls += facts[i].calls, sparse += facts[i].sparse_calls;
  expect(calls == kThreads * kCalls, "every call is counted");
  expect(sparse < calls / 50, "few tried: " + std::to_string(sparse));
}

}  // namespace

int main() {
  test_cost();
  test_nothing_to_gain();
  test_gain();
  test_change();
  test_heads();
  test_no_wait();
  test_modes();
  test_restore();
  test_eviction();
  test_refusals();
  test_threads();
  std::printf("call sites: %d checks, %d failures\n", checks, failures);
  return failures == 0 ? 0 : 1;
}
