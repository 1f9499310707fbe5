// Two libraries in one process, on one GPU, in turn: what a machine with GPUs of different kinds does with one library
// for each. From the root, after a build of natives, with any two libraries of which both run on the GPU (sm80's does
// through its PTX):
//
//   g++ -std=c++17 -O2 -Isrc/main/cpp/include -Ipresets/src/main/cpp bench/cpp/two_libraries.cpp
//     presets/target/natives/link/libattn4j_libraries.a -ldl -pthread -o two_libraries
//   two_libraries LIBRARY LIBRARY
//
// Calls go through the same trampolines as the bindings' do. Memory, streams, events and graphs belong to the first
// library; kernels of both are enqueued on its stream, on one and on several host threads, and captured in one graph.
// Ends with 0 if each library's outputs keep their bits in all of that, and the two agree to their precision.
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "attn4j/attn4j.h"
#include "attn4j/device.h"
#include "attn4j/plan.h"
#include "libraries.h"

namespace {

using attn4j::AttentionParams;
using attn4j::Status;

constexpr int64_t kBatch = 1, kHeads = 8, kTokens = 1536, kChannels = 128;
constexpr int kCalls = 6;
constexpr int64_t kElements = kBatch * kHeads * kTokens * kChannels, kBytes = 2 * kElements;

std::atomic<int> failures{0};

void expect(bool ok, const char* what) {
  if (!ok) {
    failures++;
    printf("FAILED: %s (%s)\n", what, attn4j::last_error());
  }
}

// IEEE binary16 to float, and back for |value| < 65504, rounded to nearest; what is below 2^-14 becomes 0.
float to_float(uint16_t bits) {
  const int exponent = bits >> 10 & 31, fraction = bits & 1023;
  if (exponent == 31) return NAN;
  const float value = exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                                    : std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
  return bits >> 15 != 0 ? -value : value;
}
uint16_t to_half(float value) {
  int exponent = 0;
  const float mantissa = std::frexp(std::fabs(value), &exponent);  // 0.5 to 1
  const auto rounded = static_cast<int>(std::lrint(std::ldexp(mantissa, 11)));
  if (exponent < -13) return 0;
  return static_cast<uint16_t>((value < 0 ? 0x8000 : 0) + ((exponent + 14) << 10) + (rounded - 1024));
}

attn4j::TensorView view(void* data) {
  attn4j::TensorView t;
  t.data = data;
  t.dtype = attn4j::DType::kFloat16;
  const int64_t sizes[] = {kBatch, kHeads, kTokens, kChannels};
  int64_t stride = 1;
  for (int i = 3; i >= 0; i--) {
    t.size[i] = sizes[i];
    t.stride[i] = stride;
    stride *= sizes[i];
  }
  return t;
}

using Run = Status (*)(const AttentionParams&, const attn4j::Workspace&, CUstream_st*);
using Size = int64_t (*)(const AttentionParams&);

// One output of one library: inputs in common, o and scratch of its own.
struct Call {
  int32_t library;
  Run run;
  Size size;
  AttentionParams params;
  attn4j::Workspace workspace;
  attn4j::PlanHandle plan;

  void prepare(int32_t of, Run run_, Size size_, const AttentionParams& inputs) {
    library = of, run = run_, size = size_, params = inputs;
    attn4j_libraries::use_library(0);
    params.o.data = attn4j::device_malloc(kBytes, 0);
    attn4j_libraries::use_library(library);
    workspace.size = size != nullptr ? size(params) : planned();
    expect(workspace.size >= 0, "a workspace size");
    attn4j_libraries::use_library(0);
    workspace.data = attn4j::device_malloc(workspace.size + 1, 0);
    expect(params.o.data != nullptr && workspace.data != nullptr, "memory");
  }

  // sageattn in two steps; a plan is the business of the library that made it.
  int64_t planned() {
    attn4j::PlanRequest request;
    request.attention = params;
    request.device = 0;
    attn4j::PlanFacts facts;
    expect(attn4j::plan_attention(request, &plan, &facts) == Status::kOk, "a plan");
    printf("library %d: sageattn is %s\n", library, facts.kernel);
    return facts.workspace_size;
  }

  void poison(CUstream_st* stream) const {
    attn4j_libraries::use_library(0);
    expect(attn4j::fill_async(params.o.data, 0xff, kBytes, stream) == Status::kOk, "a fill");
    expect(attn4j::fill_async(workspace.data, 0xff, workspace.size, stream) == Status::kOk, "a fill");
  }

  void enqueue(CUstream_st* stream) const {
    attn4j_libraries::use_library(library);
    if (run != nullptr) {
      expect(run(params, workspace, stream) == Status::kOk, "a call");
      return;
    }
    attn4j::PlanAddresses addresses;
    addresses.q = params.q.data, addresses.k = params.k.data, addresses.v = params.v.data;
    addresses.o = params.o.data, addresses.workspace = workspace;
    expect(attn4j::run_plan(plan, addresses, stream) == Status::kOk, "a planned call");
  }

  std::vector<uint16_t> output(CUstream_st* stream) const {
    std::vector<uint16_t> host(kElements);
    attn4j_libraries::use_library(0);
    expect(attn4j::copy_async(host.data(), params.o.data, kBytes, stream) == Status::kOk, "a copy");
    expect(attn4j::stream_synchronize(stream) == Status::kOk, "the stream");
    return host;
  }
};

double relative_l1(const std::vector<uint16_t>& a, const std::vector<uint16_t>& b) {
  double difference = 0, sum = 0;
  for (int64_t i = 0; i < kElements; i++) {
    difference += std::fabs(static_cast<double>(to_float(a[i])) - to_float(b[i]));
    sum += std::fabs(static_cast<double>(to_float(b[i])));
  }
  return difference / sum;
}

void* random_tensor(int seed, CUstream_st* stream) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<uint16_t> host(kElements);
  for (uint16_t& x : host) x = to_half(normal(generator));
  void* device = attn4j::device_malloc(kBytes, 0);
  expect(device != nullptr && attn4j::copy_async(device, host.data(), kBytes, stream) == Status::kOk, "an input");
  attn4j::stream_synchronize(stream);
  return device;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: two_libraries LIBRARY LIBRARY\n");
    return 2;
  }
  int32_t number[2];
  for (int i = 0; i < 2; i++) {
    number[i] = attn4j_libraries::open_library(argv[1 + i]);
    if (number[i] != i) {
      fprintf(stderr, "%s: %s\n", argv[1 + i], number[i] < 0 ? attn4j_libraries::library_error() : "opened twice");
      return 1;
    }
    attn4j_libraries::use_library(i);
    printf("library %d: code %s, %s\n", i, attn4j::arch_list(), argv[1 + i]);
  }
  attn4j_libraries::use_library(0);
  printf("device 0 of %d: compute capability %d\n", attn4j::device_count(), attn4j::device_compute_capability(0));
  CUstream_st* stream = attn4j::stream_create(0);
  expect(stream != nullptr, "a stream");
  if (failures > 0) return 1;

  AttentionParams inputs;
  inputs.q = view(random_tensor(1, stream)), inputs.k = view(random_tensor(2, stream));
  inputs.v = view(random_tensor(3, stream)), inputs.o = view(inputs.q.data);
  // Of each library: exact attention, INT8 with 16-bit P V, and what sageattn chooses, planned and run: FP8 on Hopper.
  Call calls[kCalls];
  for (int i = 0; i < 2; i++) {
    calls[i].prepare(number[i], attn4j::exact_attn, attn4j::exact_attn_workspace_size, inputs);
    calls[2 + i].prepare(number[i], attn4j::sageattn_qk_int8_pv_fp16_cuda,
                         attn4j::sageattn_qk_int8_pv_fp16_cuda_workspace_size, inputs);
    calls[4 + i].prepare(number[i], nullptr, nullptr, inputs);
  }
  std::vector<uint16_t> first[kCalls];
  for (int i = 0; i < kCalls; i++) {
    calls[i].poison(stream);
    calls[i].enqueue(stream);
    first[i] = calls[i].output(stream);
  }
  const double exact = relative_l1(first[1], first[0]), sage = relative_l1(first[3], first[2]);
  const double quantised = relative_l1(first[2], first[0]), chosen = relative_l1(first[5], first[4]);
  printf("relative L1 between the libraries: exact %.5f, INT8 %.5f, sageattn %.5f; of INT8 to exact %.5f\n", exact,
         sage, chosen, quantised);
  // fp16 outputs round at 2^-11, and sums have other orders; the two INT8 kernels share the images and differ in P's
  // rounding.
  expect(exact < 0x1p-9, "the exact kernels agree");
  expect(sage < 0x1p-6 && quantised < 0x1p-5, "the INT8 kernels agree");
  expect(chosen < 0.06, "sageattn agrees");  // FP8 is 0.036 from exact on such data (docs/accuracy.md)

  // In turn, one stream, no wait between: any state that the libraries shared by mistake would show.
  for (int round = 0; round < 50; round++) {
    for (const Call& call : calls) call.poison(stream);
    for (const Call& call : calls) call.enqueue(stream);
    for (int i = 0; i < kCalls; i++) expect(calls[i].output(stream) == first[i], "the same bits in turn");
  }
  printf("in turn: done\n");

  // Two host threads, one library each, a stream each.
  auto work = [&](int library) {
    attn4j_libraries::use_library(0);
    CUstream_st* own = attn4j::stream_create(0);
    for (int round = 0; round < 50; round++) {
      for (int i = library; i < kCalls; i += 2) {
        calls[i].poison(own);
        calls[i].enqueue(own);
        expect(calls[i].output(own) == first[i], "the same bits on threads");
      }
    }
    attn4j_libraries::use_library(0);
    attn4j::stream_destroy(own);
  };
  std::thread other(work, 1);
  work(0);
  other.join();
  printf("on two threads: done\n");

  // One graph with the kernels of both.
  attn4j_libraries::use_library(0);
  expect(attn4j::graph_begin_capture(stream) == Status::kOk, "a capture");
  for (const Call& call : calls) call.enqueue(stream);
  attn4j_libraries::use_library(0);
  CUgraphExec_st* graph = attn4j::graph_end_capture(stream);
  expect(graph != nullptr, "a graph");
  for (int round = 0; round < 10 && graph != nullptr; round++) {
    for (const Call& call : calls) call.poison(stream);
    expect(attn4j::graph_launch(graph, stream) == Status::kOk, "a launch of the graph");
    for (int i = 0; i < kCalls; i++) expect(calls[i].output(stream) == first[i], "the same bits from a graph");
  }
  printf("in one graph: done\n");

  // Each library keeps its own reason.
  AttentionParams wrong = calls[0].params;
  wrong.q.data = nullptr;
  attn4j_libraries::use_library(1);
  expect(attn4j::exact_attn(wrong, calls[0].workspace, stream) == Status::kInvalidArgument, "a refusal");
  const std::string reason = attn4j::last_error();
  attn4j_libraries::use_library(0);
  expect(!reason.empty() && reason != attn4j::last_error(), "a reason of its own");
  printf("%s\n", failures == 0 ? "all right" : "FAILED");
  return failures == 0 ? 0 : 1;
}
