// What one call of the C API costs the host, in microseconds: sageattn over 8 heads, 64 tokens and 64 channels, asked
// for its workspace each time as the hook does it. The hook's own time for the same call is HookCost's of
// torch/src/test.
//
//   g++ -std=c++17 -O2 -Isrc/main/cpp/include bench/cpp/call_cost.cpp -o call_cost -Lpresets/target/natives/link
//   -lattn4j
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <vector>

#include "attn4j/attn4j.h"
#include "attn4j/device.h"

namespace {

constexpr int kCalls = 200;  // far from the number of launches that a stream takes
constexpr int kRounds = 41;
constexpr int64_t kHeads = 8, kTokens = 64, kChannels = 64;

attn4j::TensorView view(void* data) {
  attn4j::TensorView tensor;
  tensor.data = data;
  const int64_t size[4] = {1, kHeads, kTokens, kChannels};
  int64_t step = 1;
  for (int i = 3; i >= 0; i--) {
    tensor.size[i] = size[i];
    tensor.stride[i] = step;
    step *= size[i];
  }
  return tensor;
}

int fail(const char* what) {
  std::fprintf(stderr, "%s: %s\n", what, attn4j::last_error());
  return 1;
}

}  // namespace

int main() {
  const int64_t bytes = 2 * kHeads * kTokens * kChannels;
  CUstream_st* stream = attn4j::stream_create(0);
  attn4j::AttentionParams params;
  for (attn4j::TensorView* tensor : {&params.q, &params.k, &params.v, &params.o}) {
    void* data = attn4j::device_malloc(bytes, 0);
    if (stream == nullptr || data == nullptr) return fail("memory");
    attn4j::fill_async(data, 0x2c, bytes, stream);
    *tensor = view(data);
  }
  attn4j::Workspace workspace;
  workspace.size = std::max<int64_t>(256, attn4j::sageattn_workspace_size(params));
  workspace.data = attn4j::device_malloc(workspace.size, 0);
  std::vector<double> micros;
  for (int round = -5; round < kRounds; round++) {
    attn4j::stream_synchronize(stream);
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < kCalls; i++) {
      if (attn4j::sageattn_workspace_size(params) < 0) return fail("workspace");
      if (attn4j::sageattn(params, workspace, stream) != attn4j::Status::kOk) return fail("sageattn");
    }
    const std::chrono::duration<double, std::micro> passed = std::chrono::steady_clock::now() - begin;
    if (round >= 0) micros.push_back(passed.count() / kCalls);
  }
  attn4j::stream_synchronize(stream);
  std::sort(micros.begin(), micros.end());
  std::printf("{\"bench\": \"call_cost\", \"kernel\": \"%s\", \"us_median\": %.3f, \"us_min\": %.3f}\n",
              attn4j::sageattn_kernel(params), micros[kRounds / 2], micros[0]);
  return 0;
}
