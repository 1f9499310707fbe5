// What a call costs the host in C++, launches included, in microseconds: one step, a plan, a run. One JSON object a
// line.
//
//   g++ -std=c++17 -O2 -Isrc/main/cpp/include bench/cpp/host_cost.cpp -o host_cost -L DIR -lattn4j
//   host_cost [batches]      of 64 calls each, medians; 200 by default
//
// The problem is small, so that the GPU keeps up and the queue of launches never fills; the stream is drained between
// batches, outside the clock. Plans are timed for a large problem too: they divide its work.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "attn4j/device.h"
#include "attn4j/plan.h"

using namespace attn4j;

namespace {

constexpr int kBatch = 64;

CUstream_st* stream = nullptr;
int batches = 200;

void check(Status status, const char* what) {
  if (status == Status::kOk) return;
  std::printf("%s: %s\n", what, last_error());
  std::exit(1);
}

template <class Call>
double median(Call call) {
  std::vector<double> micros;
  for (int b = 0; b < batches + 20; b++) {
    check(stream_synchronize(stream), "synchronize");
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kBatch; i++) call();
    const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - start;
    if (b >= 20) micros.push_back(took.count() / kBatch);  // the first ones warm up
  }
  check(stream_synchronize(stream), "synchronize");
  std::sort(micros.begin(), micros.end());
  return micros[micros.size() / 2];
}

struct Problem {
  int64_t batch, heads, length, head_dim;
};

TensorView view(const Problem& s, void* data) {
  TensorView t;
  t.data = data;
  const int64_t sizes[4] = {s.batch, s.heads, s.length, s.head_dim};
  int64_t stride = 1;
  for (int i = 3; i >= 0; i--) {
    t.size[i] = sizes[i];
    t.stride[i] = stride;
    stride *= sizes[i];
  }
  return t;
}

PlanAddresses addresses_of(const PlanRequest& r, const Workspace& workspace) {
  PlanAddresses a;
  a.q = r.attention.q.data, a.k = r.attention.k.data, a.v = r.attention.v.data, a.o = r.attention.o.data;
  a.workspace = workspace;
  return a;
}

void measure(const char* name, AttentionFunction function,
             Status (*call)(const AttentionParams&, const Workspace&, CUstream_st*) noexcept,
             void* const (&memory)[4]) {
  const Problem small{1, 8, 128, 64}, large{4, 32, 4096, 128};
  PlanRequest r;
  r.attention.q = view(small, memory[0]), r.attention.k = view(small, memory[1]);
  r.attention.v = view(small, memory[2]), r.attention.o = view(small, memory[3]);
  r.function = function;
  r.device = 0;
  PlanHandle plan;
  PlanFacts facts;
  if (plan_attention(r, &plan, &facts) != Status::kOk) {
    std::printf("{\"bench\": \"host_cost_cpp\", \"function\": \"%s\", \"skipped\": \"%s\"}\n", name, last_error());
    return;
  }
  const Workspace workspace{device_malloc(facts.workspace_size, 0), facts.workspace_size};
  PlanAddresses a = addresses_of(r, workspace);
  const double step = median([&] { check(call(r.attention, workspace, stream), name); });
  const double planned = median([&] { check(plan_attention(r, &plan, &facts), name); });
  const double looked_up = median([&] { check(run_plan(plan, a, stream), name); });
  a.trusted = true;
  const double trusted = median([&] { check(run_plan(plan, a, stream), name); });
  PlanRequest big = r;
  big.attention.q = view(large, memory[0]), big.attention.k = view(large, memory[1]);
  big.attention.v = view(large, memory[2]), big.attention.o = view(large, memory[3]);
  PlanHandle other;
  const double large_plan = median([&] { check(plan_attention(big, &other, nullptr), name); });
  std::printf(
      "{\"bench\": \"host_cost_cpp\", \"function\": \"%s\", \"kernel\": \"%s\", \"launches\": %d, \"one_step_us\": "
      "%.2f, "
      "\"plan_us\": %.2f, \"run_us\": %.2f, \"run_trusted_us\": %.2f, \"plan_large_us\": %.2f}\n",
      name, facts.kernel, facts.launches, step, planned, looked_up, trusted, large_plan);
  std::fflush(stdout);
  check(device_free(workspace.data), "free");
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) batches = std::atoi(argv[1]);
  if (device_count() < 1) {
    std::printf("{\"bench\": \"host_cost_cpp\", \"skipped\": \"no GPU\"}\n");
    return 0;
  }
  stream = stream_create(0);
  void* memory[4];
  for (void*& m : memory) {
    m = device_malloc(1 << 20, 0);
    check(fill_async(m, 0, 1 << 20, stream), "fill");
  }
  measure("exact_attn", AttentionFunction::kExactAttn, exact_attn, memory);
  measure("sageattn", AttentionFunction::kSageattn, sageattn, memory);
  measure("sageattn_qk_int8_pv_fp16_cuda", AttentionFunction::kSageattnInt8Fp16, sageattn_qk_int8_pv_fp16_cuda, memory);
  measure("sageattn_qk_int8_pv_fp8_cuda_sm90", AttentionFunction::kSageattnInt8Fp8Sm90,
          sageattn_qk_int8_pv_fp8_cuda_sm90, memory);
  return 0;
}
