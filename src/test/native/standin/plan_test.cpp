// Plans and runs of plan.h against a stand-in for CUDA: what a plan says is what a run does, and what a run refuses. No
// GPU; all host code is the library's own.
#include "attn4j/plan.h"

#include <cstdio>
#include <cstring>
#include <random>
#include <string>

#include "attention/split/plan.h"
#include "expect.h"
#include "standin.h"

using namespace attn4j;

namespace {

bool says(const char* text) { return std::strstr(last_error(), text) != nullptr; }

struct Sizes {
  int64_t batch = 2, heads_q = 8, heads_kv = 8, lq = 1000, lk = 1500, head_dim = 128;
};

constexpr uintptr_t kStep = uintptr_t{1} << 34;

TensorView view(int place, const Sizes& s, int64_t heads, int64_t rows) {
  TensorView t;
  t.data = reinterpret_cast<void*>(kStep * (place + 1));
  const int64_t sizes[4] = {s.batch, heads, rows, s.head_dim};
  int64_t stride = 1;
  for (int i = 3; i >= 0; i--) {
    t.size[i] = sizes[i];
    t.stride[i] = stride;
    stride *= sizes[i];
  }
  return t;
}

PlanRequest request(const Sizes& s, AttentionFunction function = AttentionFunction::kSageattn) {
  PlanRequest r;
  r.attention.q = view(0, s, s.heads_q, s.lq);
  r.attention.k = view(1, s, s.heads_kv, s.lk);
  r.attention.v = view(2, s, s.heads_kv, s.lk);
  r.attention.o = view(3, s, s.heads_q, s.lq);
  r.function = function;
  r.device = 0;
  return r;
}

PlanAddresses addresses(const PlanRequest& r, const PlanFacts& facts) {
  PlanAddresses a;
  a.q = r.attention.q.data, a.k = r.attention.k.data, a.v = r.attention.v.data, a.o = r.attention.o.data;
  a.lse = r.attention.lse, a.kv_lengths = r.attention.kv_lengths;
  a.seen = r.attention.seen.data, a.bias = r.attention.bias.data;
  a.cu_seqlens_q = r.attention.packed.cu_seqlens_q, a.cu_seqlens_k = r.attention.packed.cu_seqlens_k;
  a.block_mask = r.sparsity.block_mask, a.sparsity = r.sparsity.sparsity;
  a.workspace = {reinterpret_cast<void*>(kStep * 9), facts.workspace_size};
  return a;
}

void* somewhere(int place, int off = 0) { return reinterpret_cast<void*>(kStep * (place + 20) + off); }

// Random requests: as many launches as planned, by the plan and by the one-step function alike.
void test_launches() {
  std::mt19937 random(3);
  const auto one_of = [&](std::initializer_list<int64_t> list) { return *(list.begin() + random() % list.size()); };
  int served = 0;
  for (int i = 0; i < 2000; i++) {
    const Sizes s{one_of({0, 1, 3}),
                  8,
                  one_of({1, 8}),
                  one_of({0, 1, 77, 1000, 9000}),
                  one_of({0, 1, 77, 1500, 9000}),
                  one_of({40, 64, 100, 128, 200})};
    PlanRequest r = request(s, static_cast<AttentionFunction>(random() % 7));
    AttentionParams& p = r.attention;
    for (TensorView* t : {&p.q, &p.k, &p.v, &p.o}) {
      if (random() % 4 == 0) t->data = static_cast<char*>(t->data) + 2;
    }
    if (random() % 2 == 0) p.lse = somewhere(0);
    if (random() % 2 == 0) p.kv_lengths = somewhere(1);
    if (random() % 8 == 0) p.seen.data = somewhere(5, 1);
    if (random() % 8 == 0) p.bias = {somewhere(6), {}, MaskType::kBFloat16};
    p.smooth_k = random() % 3 != 0;
    r.sparsity.topk = 0.5f;
    if (r.function == AttentionFunction::kBlockSparse) r.sparsity.block_mask = somewhere(2);
    if (random() % 2 == 0) r.sparsity.sparsity = somewhere(3);
    PlanHandle plan;
    PlanFacts facts;
    const Status status = plan_attention(r, &plan, &facts);
    expect(facts.status == status, "the facts have the status");
    expect((facts.refusal != RefusalReason::kNone) == (status == Status::kUnsupported), "a refusal has a reason");
    if (status != Status::kOk) continue;
    served++;
    PlanHandle copy;
    std::memcpy(&copy, &plan, sizeof copy);
    standin::take_launches(), standin::take_lookups();
    expect(run_plan(copy, addresses(r, facts), nullptr) == Status::kOk, "a copy of a plan runs");
    const int32_t launches = standin::take_launches();
    const std::string name = std::string(facts.kernel) + ", request " + std::to_string(i);
    expect(launches == facts.launches,
           name + ": " + std::to_string(facts.launches) + " launches planned, " + std::to_string(launches) + " made");
    standin::take_lookups();
    PlanAddresses trusted = addresses(r, facts);
    trusted.trusted = true;
    expect(run_plan(plan, trusted, nullptr) == Status::kOk, name + " runs again");
    expect(standin::take_lookups() == 0, name + ": trusted addresses are not looked up");
    standin::take_launches();
  }
  expect(served > 1000, "most requests are served");
}

void test_refused_runs() {
  const PlanRequest r = request({});
  PlanHandle plan;
  PlanFacts facts;
  expect(run_plan(plan, {}, nullptr) == Status::kInvalidArgument && says("plan"), "zeros are no plan");
  expect(plan_attention(r, nullptr, &facts) == Status::kInvalidArgument, "a plan needs storage");
  expect(plan_attention(r, &plan, nullptr) == Status::kOk, "facts are optional");
  expect(plan_attention(r, &plan, &facts) == Status::kOk, "a good request");
  const struct {
    const char* mentioned;
    void (*change)(PlanAddresses&);
  } kMistakes[] = {
      {"q", [](PlanAddresses& a) { a.q = nullptr; }},
      {"lse", [](PlanAddresses& a) { a.lse = somewhere(0); }},
      {"kv_lengths", [](PlanAddresses& a) { a.kv_lengths = somewhere(0); }},
      {"k: ", [](PlanAddresses& a) { a.k = somewhere(0, 2); }},
      {"overlap", [](PlanAddresses& a) { a.o = const_cast<void*>(a.q); }},
      {"host memory", [](PlanAddresses& a) { a.v = reinterpret_cast<void*>(0x10000); }},
  };
  for (const auto& mistake : kMistakes) {
    PlanAddresses a = addresses(r, facts);
    mistake.change(a);
    expect(run_plan(plan, a, nullptr) == Status::kInvalidArgument, mistake.mentioned);
    expect(says(mistake.mentioned), std::string("a sentence about ") + mistake.mentioned);
  }
  PlanRequest fp8 = request({}, AttentionFunction::kSageattnInt8Fp8Sm90);
  expect(plan_attention(fp8, &plan, &facts) == Status::kOk && facts.workspace_size > 0, "FP8 needs a workspace");
  PlanAddresses small = addresses(fp8, facts);
  small.workspace.size--;
  expect(run_plan(plan, small, nullptr) == Status::kWorkspaceTooSmall, "a workspace that is too small");
  expect(standin::take_launches() == 0, "nothing was enqueued");
  PlanRequest bad = r;
  bad.attention.q.data = nullptr;
  expect(plan_attention(bad, &plan, &facts) == Status::kInvalidArgument, "a bad request");
  expect(run_plan(plan, addresses(r, facts), nullptr) == Status::kInvalidArgument, "leaves no plan behind");
}

void test_facts() {
  PlanHandle plan;
  PlanFacts f;
  plan_attention(request({2, 8, 8, 1000, 1500, 200}), &plan, &f);
  expect(f.refusal == RefusalReason::kHeadDim && f.refusal_found == 200 && f.refusal_accepted == 128, "head_dim 200");
  plan_attention(request({2, 8, 8, 1000, 1500, 300}), &plan, &f);
  expect(f.refusal == RefusalReason::kLimits, "head_dim 300");
  PlanRequest r = request({});
  r.attention.pv_accum_dtype = PvAccumDType::kFp16;
  plan_attention(r, &plan, &f);
  expect(f.refusal == RefusalReason::kAccumulator && f.refusal_accepted == static_cast<int>(PvAccumDType::kFp32),
         "an accumulator that nobody has");
  r = request({4, 32, 32, 8192, 8192, 128});
  plan_attention(r, &plan, &f);
  expect(f.served_by == AttentionFunction::kSageattnInt8Fp8Sm90 && f.pv == Precision::kFp8 && f.launches == 3 &&
             f.sparse_from == 8192 && f.estimated_seconds > 4e-3f && f.estimated_seconds < 6e-3f,
         "a large problem");
  r = request({1, 8, 8, 128, 128, 64});
  plan_attention(r, &plan, &f);
  expect(f.served_by == AttentionFunction::kExactAttn && f.qk == Precision::k16Bit && f.launches == 1 &&
             f.workspace_size == 0,
         "a small problem");
  plan_attention(request({2, 8, 8, 1000, 1500, 128}, AttentionFunction::kSpasMeansim), &plan, &f);
  expect(f.grid.query_blocks == 8 && f.grid.key_blocks == 24, "the blocks of a sparse request");
}

// A mask is served by a kernel that reads it, or by none; without one that kernel is no choice.
void test_masks() {
  PlanHandle plan;
  PlanFacts f;
  PlanRequest r = request({}, AttentionFunction::kExactAttn);
  expect(plan_attention(r, &plan, &f) == Status::kOk && std::strstr(f.kernel, "masked") == nullptr, "no mask");
  const auto launches = [&] {
    expect(plan_attention(r, &plan, &f) == Status::kOk, "is served");
    expect(run_plan(plan, addresses(r, f), nullptr) == Status::kOk, "is run");
    return standin::take_launches();
  };
  for (const auto function : {AttentionFunction::kSageattn, AttentionFunction::kSageattnInt8Fp16,
                              AttentionFunction::kSageattnInt8Fp8Sm90, AttentionFunction::kExactAttn}) {
    r.function = function, r.attention.seen = {};
    const int32_t before = launches();
    r.attention.seen.data = somewhere(5, 1);  // bytes have any address
    r.attention.seen.stride[0] = 1500, r.attention.seen.stride[3] = 1;
    const int32_t copies = f.pv == Precision::kFp8 ? 0 : f.served_by == AttentionFunction::kExactAttn ? 2 : 1;
    expect(launches() == before + 1 + copies && std::strstr(f.kernel, "masked") == nullptr, "keys as a list");
  }
  for (const int64_t keys : {int64_t{1500}, int64_t{1000}}) {
    PlanRequest causal = request({2, 8, 8, 1000, keys, 128});
    causal.attention.is_causal = true;
    causal.attention.seen = r.attention.seen;
    const bool few = keys < 1024;
    expect((plan_attention(causal, &plan, &f) == Status::kOk) != few, "sageattn beside a causal mask");
    expect(few ? says("in FP8, from 1024 keys on") : f.pv == Precision::kFp8, "in FP8");
    causal.function = AttentionFunction::kSageattnInt8Fp8Sm90;
    expect(plan_attention(causal, &plan, &f) == Status::kOk, "FP8 by name");
    causal.function = AttentionFunction::kSageattnInt8Fp16;
    expect(plan_attention(causal, &plan, &f) == Status::kUnsupported && f.refusal_accepted == 1, "not INT8 alone");
    causal.function = AttentionFunction::kExactAttn;
    expect(plan_attention(causal, &plan, &f) == Status::kOk && std::strstr(f.kernel, "masked") == f.kernel, "exact");
  }
  r.attention.seen.stride[2] = 1500;
  expect(plan_attention(r, &plan, &f) == Status::kOk && std::strstr(f.kernel, "masked") == f.kernel, "a mask");
  PlanAddresses a = addresses(r, f);
  expect(run_plan(plan, a, nullptr) == Status::kOk && standin::take_launches() == 1, "is run");
  a.seen = nullptr;
  expect(run_plan(plan, a, nullptr) == Status::kInvalidArgument && says("seen: is null"), "is not dropped");
  a = addresses(r, f);
  a.bias = somewhere(6);
  expect(run_plan(plan, a, nullptr) == Status::kInvalidArgument && says("bias: is not null"), "is not added");
  const struct {
    const char* sentence;
    void (*change)(AttentionParams&);
  } kMistakes[] = {
      {"seen: type is 3; accepted are 0 to 0", [](AttentionParams& p) { p.seen.type = MaskType::kFloat32; }},
      {"bias: type is 0; accepted are 1 to 3",
       [](AttentionParams& p) {
         p.bias = {somewhere(6), {}, MaskType::kSeen};
       }},
      {"seen: stride[2] is -1; strides must not be negative", [](AttentionParams& p) { p.seen.stride[2] = -1; }},
      {"window: left is -2; -1 or more is accepted", [](AttentionParams& p) { p.window.left = -2; }},
      {"window: prefix is -1; 0 or more is accepted", [](AttentionParams& p) { p.window.prefix = -1; }},
      {"aligned to 4 bytes",
       [](AttentionParams& p) {
         p.bias = {somewhere(6, 2), {}, MaskType::kFloat32};
       }},
  };
  for (const auto& mistake : kMistakes) {
    PlanRequest bad = r;
    mistake.change(bad.attention);
    expect(plan_attention(bad, &plan, &f) == Status::kInvalidArgument && says(mistake.sentence), mistake.sentence);
  }
  const struct {
    AttentionFunction function;
    const char* sentence;
  } kRefusals[] = {
      {AttentionFunction::kSageattn, "seen: a mask is given; sageattn serves masks of keys alone"},
      {AttentionFunction::kSageattnInt8Fp16,
       "seen: a mask is given; sageattn_qk_int8_pv_fp16_cuda serves masks of keys alone"},
      {AttentionFunction::kSpasMeansim, "seen: a mask is given; SpargeAttn has no kernel that reads one"},
  };
  for (const auto& refusal : kRefusals) {
    r.function = refusal.function;
    expect(plan_attention(r, &plan, &f) == Status::kUnsupported && says(refusal.sentence), refusal.sentence);
    expect(f.refusal == RefusalReason::kMask && f.refusal_found == 1, "in facts");
  }
  r = request({});
  r.attention.window = {100, 0, 0};
  expect(plan_attention(r, &plan, &f) == Status::kUnsupported && f.refusal_found == 4, "a window is a mask");
  r.function = AttentionFunction::kExactAttn;
  expect(plan_attention(r, &plan, &f) == Status::kOk && std::strstr(f.kernel, "masked") == f.kernel, "and is served");
  r.attention.window = {-1, -1, 7};
  expect(plan_attention(r, &plan, &f) == Status::kOk && std::strstr(f.kernel, "masked") == nullptr,
         "one that hides nothing is none");
}

// Packed sequences are served by the exact kernel on mma.sync, and by no other.
void test_packed() {
  PlanHandle plan;
  PlanFacts f;
  PlanRequest r = request({1, 8, 8, 1000, 1500, 128}, AttentionFunction::kExactAttn);
  r.attention.packed = {somewhere(7), somewhere(8), 20, 300, 400};
  expect(plan_attention(r, &plan, &f) == Status::kOk && std::strncmp(f.kernel, "exact_mma", 9) == 0, "packed");
  PlanAddresses a = addresses(r, f);
  expect(run_plan(plan, a, nullptr) == Status::kOk && standin::take_launches() == 1 && f.launches == 1, "is run");
  a.cu_seqlens_k = nullptr;
  expect(run_plan(plan, a, nullptr) == Status::kInvalidArgument && says("cu_seqlens_k: is null"), "is not dropped");
  const struct {
    const char* sentence;
    void (*change)(AttentionParams&);
  } kMistakes[] = {
      {"cu_seqlens_k: is null; packed sequences need both",
       [](AttentionParams& p) { p.packed.cu_seqlens_k = nullptr; }},
      {"cu_seqlens_q: is null; packed sequences need both",
       [](AttentionParams& p) { p.packed.cu_seqlens_q = nullptr; }},
      {"packed: count is -1; 0 to", [](AttentionParams& p) { p.packed.count = -1; }},
      {"packed: max_seqlen_q is 1001; 0 to 1000 are", [](AttentionParams& p) { p.packed.max_seqlen_q = 1001; }},
      {"packed: max_seqlen_k is 1501; 0 to 1500 are", [](AttentionParams& p) { p.packed.max_seqlen_k = 1501; }},
      {"kv_lengths: is given beside packed", [](AttentionParams& p) { p.kv_lengths = somewhere(1); }},
      {"a mask: is given beside packed", [](AttentionParams& p) { p.seen.data = somewhere(5, 1); }},
      {"a mask: is given beside packed", [](AttentionParams& p) { p.window.left = 3; }},
      {"needs an address aligned to 4 bytes", [](AttentionParams& p) { p.packed.cu_seqlens_k = somewhere(8, 2); }},
  };
  for (const auto& mistake : kMistakes) {
    PlanRequest bad = r;
    mistake.change(bad.attention);
    expect(plan_attention(bad, &plan, &f) == Status::kInvalidArgument && says(mistake.sentence), mistake.sentence);
  }
  PlanRequest two = request({2, 8, 8, 1000, 1500, 128}, AttentionFunction::kExactAttn);
  two.attention.packed = r.attention.packed;
  expect(plan_attention(two, &plan, &f) == Status::kInvalidArgument && says("q: batch is 2; packed"), "of one entry");
  for (const auto function :
       {AttentionFunction::kSageattn, AttentionFunction::kSageattnInt8Fp8Sm90, AttentionFunction::kSpasMeansim}) {
    r.function = function;
    expect(plan_attention(r, &plan, &f) == Status::kUnsupported && says("packed: 20 sequences are given"), "no other");
    expect(f.refusal == RefusalReason::kPacked && f.refusal_found == 20, "in facts");
  }
}

// An order of the tokens: what it can't go with, and that a run needs it where the plan had it.
void test_token_order() {
  const auto ordered = [](const Sizes& s) {
    PlanRequest r = request(s, AttentionFunction::kSpasMeansim);
    r.sparsity.token_order = somewhere(4);
    return r;
  };
  PlanHandle plan;
  PlanFacts f;
  PlanRequest r = ordered({1, 8, 8, 9000, 9000, 128});
  expect(plan_attention(r, &plan, &f) == Status::kOk, "self-attention in another order");
  PlanAddresses a = addresses(r, f);
  expect(run_plan(plan, a, nullptr) == Status::kInvalidArgument && says("token_order"), "a run without it");
  a.token_order = somewhere(5);
  expect(run_plan(plan, a, nullptr) == Status::kOk, "a run with another one");
  const auto refuses = [&](const PlanRequest& bad, int64_t found) {
    expect(plan_attention(bad, &plan, &f) == Status::kUnsupported && f.refusal == RefusalReason::kTokenOrder &&
               f.refusal_found == found && says("token_order: is given with "),
           "token_order: " + std::to_string(found));
  };
  refuses(ordered({1, 8, 8, 9000, 9001, 128}), 4);
  PlanRequest bad = r;
  bad.attention.pv_accum_dtype = PvAccumDType::kFp32;  // not in FP8
  refuses(bad, 1);
  bad = r;
  bad.attention.is_causal = true;
  refuses(bad, 2);
  bad = r;
  bad.attention.kv_lengths = somewhere(6);
  refuses(bad, 3);
  bad = r;
  bad.function = AttentionFunction::kBlockSparse, bad.sparsity.block_mask = somewhere(7);
  refuses(bad, 5);
}

// On other GPUs the choice is another one: where the tensor cores are the limit, quantising pays earlier.
void test_machines() {
  const auto choice = [](int64_t length, int32_t sms) {
    PlanRequest r = request({2, 24, 24, length, length, 128});
    r.multiprocessors = sms;
    PlanHandle plan;
    PlanFacts f;
    plan_attention(r, &plan, &f);
    return f.served_by;
  };
  constexpr auto kExact = AttentionFunction::kExactAttn, kFp8 = AttentionFunction::kSageattnInt8Fp8Sm90;
  int64_t least[3];
  const int32_t machines[3] = {132, 114, 78};
  for (int i = 0; i < 3; i++) {
    expect(choice(256, machines[i]) == kExact && choice(16384, machines[i]) == kFp8, "short exact, long FP8");
    for (least[i] = 256; choice(least[i], machines[i]) == kExact;) least[i] += 128;
  }
  expect(least[2] < least[0], "an H20 quantises earlier than an H100: " + std::to_string(least[2]) + " and " +
                                  std::to_string(least[0]) + " tokens");
  std::printf("FP8 from %lld tokens on 132 SMs, %lld on 114, %lld on 78 (B=2 H=24 D=128)\n",
              static_cast<long long>(least[0]), static_cast<long long>(least[1]), static_cast<long long>(least[2]));
}

// Few queries: keys are divided between CTAs where heads don't fill the GPU, and nowhere else.
void test_few_queries() {
  const auto plan = [](const Sizes& s, int32_t sms, AttentionFunction function = AttentionFunction::kSageattn) {
    PlanRequest r = request(s, function);
    r.multiprocessors = sms;
    PlanHandle handle;
    PlanFacts f;
    expect(plan_attention(r, &handle, &f) == Status::kOk, "few queries are served");
    return f;
  };
  const auto is_exact = [](const PlanFacts& f) { return f.served_by == AttentionFunction::kExactAttn; };
  const auto is = [](const PlanFacts& f, const char* kernel) { return std::strncmp(f.kernel, kernel, 11) == 0; };
  for (const int32_t sms : {20, 78, 114, 132, 300}) {
    for (const auto function : {AttentionFunction::kSageattn, AttentionFunction::kExactAttn}) {
      const std::string where = " on " + std::to_string(sms) + " SMs";
      for (const int64_t lk : {int64_t{4097}, int64_t{32768}, int64_t{1000000}}) {
        const PlanFacts f = plan({1, 32, 8, 1, lk, 128}, sms, function);
        expect(is(f, "exact_split") && f.served_by == AttentionFunction::kExactAttn, "one query" + where);
        expect(f.launches == 2 && f.workspace_size > 0, "its keys are divided" + where);
      }
      expect(is_exact(plan({1, 32, 8, 128, 4097, 128}, sms, function)), "128 queries of one entry" + where);
      const PlanFacts many = plan({64, 32, 32, 1, 2048, 128}, sms, function);
      expect(is(many, "exact_split") && many.launches == 1, "many heads: keys need no division" + where);
      expect(!is(plan({2, 32, 8, 129, 4096, 128}, sms, function), "exact_split"), "129 queries" + where);
      const PlanFacts text = plan({2, 10, 10, 77, 4096, 64}, sms, function);
      expect(is(text, "exact_split") == (sms > 20), "77 queries of 20 heads" + where);  // an item for each of 20 SMs
    }
    const PlanFacts full = plan({64, 32, 32, 128, 4096, 128}, sms);
    expect(!is(full, "exact_split") || sms > 132, "128 queries of 2048 heads");  // on more, all wait for the memory
  }
  expect(is(plan({8, 8, 8, 1, 4097, 160}, 132, AttentionFunction::kExactAttn), "exact_split"), "head_dim 160");
}

// Whatever GPU a plan is run on: the workspace of the request has room for all parts.
void test_split_workspace() {
  std::mt19937_64 random(7);
  const auto upto = [&](int64_t most) { return 1 + static_cast<int64_t>(random() % static_cast<uint64_t>(most)); };
  int divided = 0;
  for (int i = 0; i < 20000; i++) {
    const SplitRequest r{upto(random() % 2 == 0 ? 100 : 100000), upto(random() % 2 == 0 ? 40 : 4000),
                         upto(random() % 2 == 0 ? 3000 : int64_t{1} << 29) - 1, 128};
    const SplitPlan plan = SplitPlanner<128>::plan(r, SplitMachine::of(static_cast<int32_t>(upto(400)), 1.));
    const int64_t needed = plan.splits < 2 ? 0 : r.kv_heads * plan.splits * r.rows * (128 + 2) * 4;
    divided += plan.splits > 1;
    expect(plan.splits >= 1 && plan.splits <= kMaxSplits && plan.ctas == r.kv_heads * plan.row_tiles * plan.splits,
           "a plan's CTAs");
    expect(needed <= SplitPlanner<128>::most_partials(r), "room for " + std::to_string(plan.splits) + " parts");
  }
  expect(divided > 2000 && divided < 18000, "some requests are divided, some aren't");
}

}  // namespace

int main() {
  test_few_queries();
  test_split_workspace();
  test_launches();
  test_refused_runs();
  test_facts();
  test_masks();
  test_packed();
  test_token_order();
  test_machines();
  std::printf("plans against a stand-in for CUDA: %d checks, %d failed\n", checks, failures);
  return failures == 0 ? 0 : 1;
}
