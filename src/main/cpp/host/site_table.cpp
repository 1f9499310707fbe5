// The table of call sites (site.h): a hash table of fixed size over SiteRule, and the page-locked memory for reports.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <mutex>

#include "attn4j/site.h"
#include "host/call.h"
#include "host/site_rule.h"
#include "host/status.h"
#include "host/validate.h"

namespace attn4j {
namespace {

constexpr int kSites = 512, kBuckets = 1024;
constexpr int32_t kNone = -1;

struct Site {
  SiteRule rule;
  uint32_t bucket = 0, generation = 0;
  int32_t next = kNone;  // of the bucket
  int32_t device = -1;   // of the first request
  int64_t used = 0;      // the tick of the last question; 0: empty
};

bool same(const SiteKey& a, const SiteKey& b) { return std::memcmp(&a, &b, sizeof a) == 0; }
static_assert(sizeof(SiteKey) == 80, "compared as bytes: no padding");

uint32_t bucket_of(const SiteKey& key) {
  uint64_t words[sizeof(SiteKey) / 8], hash = 0x9e3779b97f4a7c15u;
  std::memcpy(words, &key, sizeof words);
  for (const uint64_t word : words) {
    hash = (hash ^ word) * 0xff51afd7ed558ccdu;
    hash ^= hash >> 32;
  }
  return static_cast<uint32_t>(hash % kBuckets);
}

class SiteTable {
 public:
  // Of this library. Never destroyed: kernels may write reports when the process ends.
  static SiteTable& instance() {
    static SiteTable* const table = new SiteTable();
    return *table;
  }

  std::mutex lock;  // held around all that follows

  Site* find(const SiteKey& key) {
    for (int32_t i = heads_[bucket_of(key)]; i != kNone; i = sites_[i].next) {
      if (same(sites_[i].rule.facts().key, key)) return touch(i);
    }
    return nullptr;
  }

  Site* add(const SiteKey& key, float needed) {
    int32_t oldest = 0;
    for (int32_t i = 1; i < kSites; i++) {
      if (sites_[i].used < sites_[oldest].used) oldest = i;
    }
    Site& site = sites_[oldest];
    if (site.used > 0) unlink(oldest);
    site.generation++;
    site.rule.make(key, needed);
    site.bucket = bucket_of(key);
    site.next = heads_[site.bucket];
    heads_[site.bucket] = oldest;
    return touch(oldest);
  }

  int64_t name_of(const Site& site) const {
    return int64_t{site.generation & 0x7fffffff} << 32 | static_cast<int64_t>(&site - sites_.get());
  }
  Site* named(int64_t name) {
    const int64_t index = name & 0xffffffff;
    if (name < 0 || index >= kSites) return nullptr;
    Site& site = sites_[index];
    return site.used > 0 && name_of(site) == name ? touch(static_cast<int32_t>(index)) : nullptr;
  }

  // Where the site's calls report; null if there is no page-locked memory.
  float* slot_of(const Site& site) {
    if (reports_ == nullptr && !asked_for_memory_) allocate(site.device);
    return reports_ == nullptr ? nullptr : reports_ + (&site - sites_.get()) * SiteRule::kHeads;
  }

  int32_t list(SiteFacts* facts, int32_t most) const {
    int32_t order[kSites], count = 0;
    for (int32_t i = 0; i < kSites; i++) {
      if (sites_[i].used > 0) order[count++] = i;
    }
    std::sort(order, order + count, [&](int32_t a, int32_t b) { return sites_[a].used > sites_[b].used; });
    for (int32_t i = 0; i < std::min(count, most); i++) facts[i] = sites_[order[i]].rule.facts();
    return count;
  }

  void clear() {
    std::fill(heads_, heads_ + kBuckets, kNone);
    for (int32_t i = 0; i < kSites; i++) sites_[i].used = 0;
  }

 private:
  SiteTable() : sites_(new Site[kSites]) { clear(); }

  Site* touch(int32_t index) {
    sites_[index].used = ++tick_;
    return &sites_[index];
  }

  void unlink(int32_t index) {
    int32_t* place = &heads_[sites_[index].bucket];
    while (*place != index) place = &sites_[*place].next;
    *place = sites_[index].next;
  }

  // Once. Another thread's capture must neither fail nor make this fail, so the thread asks for leave to allocate.
  void allocate(int32_t device) {
    asked_for_memory_ = true;
    int now = 0;
    if (device < 0 && cudaGetDevice(&now) == cudaSuccess) device = now;
    const DeviceScope scope(std::max(device, 0));
    if (scope.error() != cudaSuccess) return;
    cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
    const bool exchanged = cudaThreadExchangeStreamCaptureMode(&mode) == cudaSuccess;
    void* memory = nullptr;
    const size_t bytes = sizeof(float) * kSites * SiteRule::kHeads;
    if (cudaHostAlloc(&memory, bytes, cudaHostAllocPortable | cudaHostAllocMapped) == cudaSuccess) {
      reports_ = static_cast<float*>(memory);
    } else {
      cudaGetLastError();
    }
    if (exchanged) cudaThreadExchangeStreamCaptureMode(&mode);
  }

  std::unique_ptr<Site[]> sites_;
  int32_t heads_[kBuckets];
  int64_t tick_ = 0;
  float* reports_ = nullptr;  // [kSites][SiteRule::kHeads]
  bool asked_for_memory_ = false;
};

SiteKey key_of(const PlanRequest& request, const Shape& q, const Shape& k) {
  const AttentionParams& p = request.attention;
  const SparsityParams& s = request.sparsity;
  SiteKey key;
  key.batch = q.batch, key.queries = q.rows, key.keys = k.rows;
  key.heads_q = static_cast<int32_t>(q.heads), key.heads_kv = static_cast<int32_t>(k.heads);
  key.head_dim = static_cast<int32_t>(q.head_dim);
  key.dtype = static_cast<int32_t>(p.q.dtype), key.function = static_cast<int32_t>(request.function);
  key.causal = p.is_causal ? 1 + static_cast<int32_t>(p.causal_alignment) : 0;
  const bool flags[] = {p.kv_lengths != nullptr,
                        s.simthreshd1_per_head != nullptr,
                        s.cdfthreshd_per_head != nullptr,
                        s.topk_per_head != nullptr,
                        s.pvthreshd_per_head != nullptr,
                        s.attention_sink,
                        p.smooth_k,
                        s.token_order != nullptr,
                        p.seen.data != nullptr || p.bias.data != nullptr,
                        p.window.left >= 0 || p.window.right >= 0,
                        p.packed.cu_seqlens_q != nullptr};
  for (int i = 0; i < 11; i++) key.flags |= flags[i] ? 1 << i : 0;
  // They choose the sparse kernel, and so what must be left out.
  key.flags |= static_cast<int32_t>(p.pv_accum_dtype) << 11 | static_cast<int32_t>(p.qk_quant_gran) << 16;
  key.sm_scale = p.has_sm_scale ? p.sm_scale : 0.f;
  key.simthreshd1 = s.simthreshd1, key.cdfthreshd = s.cdfthreshd, key.topk = s.topk, key.pvthreshd = s.pvthreshd;
  key.caller = request.site_key;
  return key;
}

// The share from which the sparse kernel is the faster one by the recipes' estimates: 0 if it always is, above 1 never.
Status needed_share(const PlanRequest& request, float* needed) {
  CallPlan sparse, dense;
  PlanRequest question = request;
  ATTN4J_RETURN_IF_ERROR(sparse.make(question, nullptr));
  question.function = AttentionFunction::kSageattn;
  if (dense.make(question, nullptr) != Status::kOk) {
    *needed = 0.f;  // nobody else of ours serves
    return Status::kOk;
  }
  const AttentionPlan &s = sparse.attention(), &d = dense.attention();
  const double otherwise = seconds_of(d.kernel(), d.args(), d.machine());
  const double none = sparse_seconds(s.kernel(), s.args(), s.machine(), 0.);
  const double all = sparse_seconds(s.kernel(), s.args(), s.machine(), 1.);
  *needed = static_cast<float>(std::max(0., (none - otherwise) / (none - all)));
  return Status::kOk;
}

bool is_captured(CUstream_st* stream) {
  if (stream == nullptr) return false;  // the legacy stream can't be
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  if (cudaStreamIsCapturing(stream, &status) == cudaSuccess) return status != cudaStreamCaptureStatusNone;
  cudaGetLastError();
  return false;
}

Status forgotten() {
  return fail(Status::kInvalidArgument, "site: has made room for another, or is none; attention_site gives it anew");
}

}  // namespace

int64_t attention_site(const PlanRequest& request) noexcept {
  const bool predicts =
      request.function == AttentionFunction::kSpasMeansim || request.function == AttentionFunction::kSpasMeansimTopk;
  if (!predicts) {
    const Status status = fail(Status::kInvalidArgument,
                               "function: found %d; a site is one of spas_sage2_attn_meansim_cuda (4) or its topk form "
                               "(5)",
                               static_cast<int>(request.function));
    return -static_cast<int64_t>(status);
  }
  const AttentionParams& p = request.attention;
  const SiteKey key = key_of(request, shape_of(p.q, p.tensor_layout), shape_of(p.k, p.tensor_layout));
  SiteTable& table = SiteTable::instance();
  {
    const std::lock_guard<std::mutex> guard(table.lock);
    if (const Site* site = table.find(key)) return table.name_of(*site);
  }
  float needed = 0.f;
  const Status status = needed_share(request, &needed);
  if (status != Status::kOk) return -static_cast<int64_t>(status);
  const std::lock_guard<std::mutex> guard(table.lock);
  Site* site = table.find(key);  // another thread may have been faster
  if (site == nullptr) {
    site = table.add(key, needed);
    site->device = request.device;
  }
  return table.name_of(*site);
}

Status decide_site(int64_t name, SiteMode mode, CUstream_st* stream, SiteDecision* decision) noexcept {
  if (decision == nullptr) return fail(Status::kInvalidArgument, "decision: is null; it is written");
  const int number = static_cast<int>(mode);
  if (number < 0 || number > static_cast<int>(SiteMode::kAlways)) {
    return fail(Status::kInvalidArgument, "mode: found %d; accepted are 0 to 2", number);
  }
  const bool captured = mode == SiteMode::kLearn && is_captured(stream);
  SiteTable& table = SiteTable::instance();
  const std::lock_guard<std::mutex> guard(table.lock);
  Site* site = table.named(name);
  if (site == nullptr) return forgotten();
  float* const slot = mode == SiteMode::kLearn && !captured ? table.slot_of(*site) : nullptr;
  *decision = site->rule.decide(mode, captured, slot);
  return Status::kOk;
}

Status describe_site(int64_t name, SiteFacts* facts) noexcept {
  if (facts == nullptr) return fail(Status::kInvalidArgument, "facts: is null; it is written");
  SiteTable& table = SiteTable::instance();
  const std::lock_guard<std::mutex> guard(table.lock);
  const Site* site = table.named(name);
  if (site == nullptr) return forgotten();
  *facts = site->rule.facts();
  return Status::kOk;
}

int32_t list_sites(SiteFacts* facts, int32_t most) noexcept {
  SiteTable& table = SiteTable::instance();
  const std::lock_guard<std::mutex> guard(table.lock);
  return table.list(facts, facts == nullptr ? 0 : most);
}

Status restore_site(const SiteFacts& facts) noexcept {
  const int state = static_cast<int>(facts.state);
  if (state < 0 || state > static_cast<int>(SiteState::kDense)) {
    return fail(Status::kInvalidArgument, "state: found %d; accepted are 0 to 2", state);
  }
  if (!(facts.share >= 0.f && facts.share <= 1.f) || !(facts.needed >= 0.f)) {
    return fail(Status::kInvalidArgument, "share: found %g, needed %g; shares from 0 to 1 are accepted",
                static_cast<double>(facts.share), static_cast<double>(facts.needed));
  }
  SiteTable& table = SiteTable::instance();
  const std::lock_guard<std::mutex> guard(table.lock);
  Site* site = table.find(facts.key);
  if (site == nullptr) site = table.add(facts.key, facts.needed);
  site->rule.restore(facts);
  return Status::kOk;
}

void forget_sites() noexcept {
  SiteTable& table = SiteTable::instance();
  const std::lock_guard<std::mutex> guard(table.lock);
  table.clear();
}

}  // namespace attn4j
