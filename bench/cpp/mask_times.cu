// Times calls with a mask of keys against the same calls without one.
//
//   nvcc -std=c++17 -O3 -arch=native -Isrc/main/cpp/include bench/cpp/mask_times.cu -o mask_times -LFOLDER -lattn4j
//   ./mask_times [KERNEL:B:H:L:D ...]      KERNEL: exact, int8, fp8, fp8_sm90, sage
//
// fp16, N(0, 1)-like numbers, contiguous. In turn, each as a graph of one call over the same inputs, medians of 15
// rounds of a few calls each: without a mask; with a mask that shows all keys, which is the dearest; one that shows
// 90 % of them, anywhere; and lengths of 90 %. The mask's price is the second time over the first.
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "attn4j/attn4j.h"

namespace {

using attn4j::AttentionParams;
using attn4j::Status;
using attn4j::TensorView;
using attn4j::Workspace;

constexpr int kRounds = 15;

void require(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("FAILED: %s: %s\n", what, cudaGetErrorString(error));
  std::exit(2);
}
void require(Status status, const char* what) {
  if (status == Status::kOk) return;
  std::printf("FAILED: %s: %s\n", what, attn4j::last_error());
  std::exit(2);
}

__device__ uint32_t mix(uint32_t x) {
  x ^= x >> 16, x *= 0x7feb352dU, x ^= x >> 15, x *= 0x846ca68bU;
  return x ^ (x >> 16);
}
// Sums of four uniform numbers, of variance 1.
__global__ void fill(__half* x, int64_t n, uint32_t seed) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < n; i += int64_t{gridDim.x} * blockDim.x) {
    const uint32_t a = mix(static_cast<uint32_t>(i) + seed * 0x9e3779b9u), b = mix(a);
    const float sum = float(a & 0xffff) + float(a >> 16) + float(b & 0xffff) + float(b >> 16);
    x[i] = __float2half((sum / 65536.f - 2.f) * 1.7320508f);
  }
}
__global__ void show(uint8_t* mask, int64_t n, int percent) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < n; i += int64_t{gridDim.x} * blockDim.x) {
    mask[i] = mix(static_cast<uint32_t>(i) + 77u) % 100 < static_cast<uint32_t>(percent);
  }
}

struct Shape {
  std::string kernel;
  int64_t b, h, l, d;
};

void* memory(int64_t bytes) {
  void* p = nullptr;
  require(cudaMalloc(&p, bytes), "cudaMalloc");
  return p;
}

struct Function {
  const char* name;
  Status (*run)(const AttentionParams&, const Workspace&, CUstream_st*) noexcept;
  int64_t (*size)(const AttentionParams&) noexcept;
};
constexpr Function kFunctions[] = {
    {"exact", attn4j::exact_attn, attn4j::exact_attn_workspace_size},
    {"int8", attn4j::sageattn_qk_int8_pv_fp16_cuda, attn4j::sageattn_qk_int8_pv_fp16_cuda_workspace_size},
    {"fp8", attn4j::sageattn_qk_int8_pv_fp8_cuda, attn4j::sageattn_qk_int8_pv_fp8_cuda_workspace_size},
    {"fp8_sm90", attn4j::sageattn_qk_int8_pv_fp8_cuda_sm90, attn4j::sageattn_qk_int8_pv_fp8_cuda_sm90_workspace_size},
    {"sage", attn4j::sageattn, attn4j::sageattn_workspace_size},
};

// A call as a graph.
struct Call {
  cudaGraphExec_t graph = nullptr;
  std::vector<float> microseconds;

  void capture(const Function& f, const AttentionParams& p, const Workspace& workspace, cudaStream_t stream) {
    require(f.run(p, workspace, stream), f.name);
    require(cudaStreamSynchronize(stream), "a call");
    cudaGraph_t captured;
    require(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
    require(f.run(p, workspace, stream), f.name);
    require(cudaStreamEndCapture(stream, &captured), "capture");
    require(cudaGraphInstantiate(&graph, captured, 0), "cudaGraphInstantiate");
    require(cudaGraphDestroy(captured), "cudaGraphDestroy");
  }
  void time(int calls, cudaEvent_t start, cudaEvent_t end, cudaStream_t stream) {
    require(cudaGraphLaunch(graph, stream), "cudaGraphLaunch");
    require(cudaEventRecord(start, stream), "cudaEventRecord");
    for (int i = 0; i < calls; i++) require(cudaGraphLaunch(graph, stream), "cudaGraphLaunch");
    require(cudaEventRecord(end, stream), "cudaEventRecord");
    require(cudaEventSynchronize(end), "cudaEventSynchronize");
    float ms = 0;
    require(cudaEventElapsedTime(&ms, start, end), "cudaEventElapsedTime");
    microseconds.push_back(1000.f * ms / static_cast<float>(calls));
  }
  float median() {
    std::sort(microseconds.begin(), microseconds.end());
    return microseconds[microseconds.size() / 2];
  }
};

void time_shape(const Shape& s) {
  const Function* f = nullptr;
  for (const Function& known : kFunctions) f = s.kernel == known.name ? &known : f;
  if (f == nullptr) std::printf("FAILED: no kernel is called %s\n", s.kernel.c_str()), std::exit(2);
  const int64_t n = s.b * s.h * s.l * s.d;
  std::vector<void*> all;
  const auto allocate = [&](int64_t bytes) { return all.emplace_back(memory(std::max<int64_t>(bytes, 256))); };
  AttentionParams p;
  TensorView* const views[] = {&p.q, &p.k, &p.v, &p.o};
  for (int j = 0; j < 4; j++) {
    const int64_t size[] = {s.b, s.h, s.l, s.d}, stride[] = {n / s.b, s.l * s.d, s.d, 1};
    std::copy(size, size + 4, views[j]->size), std::copy(stride, stride + 4, views[j]->stride);
    views[j]->data = allocate(2 * n);
    fill<<<1024, 256>>>(static_cast<__half*>(views[j]->data), n, static_cast<uint32_t>(j));
  }
  AttentionParams cases[4] = {p, p, p, p};
  for (int i = 1; i < 3; i++) {
    auto* mask = static_cast<uint8_t*>(allocate(s.b * s.l));
    show<<<64, 256>>>(mask, s.b * s.l, i == 1 ? 100 : 90);
    cases[i].seen.data = mask, cases[i].seen.stride[0] = s.l, cases[i].seen.stride[3] = 1;
  }
  const std::vector<int32_t> lengths(static_cast<size_t>(s.b), static_cast<int32_t>(s.l * 9 / 10));
  cases[3].kv_lengths = allocate(4 * s.b);
  require(cudaMemcpy(const_cast<void*>(cases[3].kv_lengths), lengths.data(), 4 * lengths.size(), cudaMemcpyDefault),
          "cudaMemcpy");
  require(cudaDeviceSynchronize(), "fill");
  cudaStream_t stream;
  cudaEvent_t start, end;
  require(cudaStreamCreate(&stream), "cudaStreamCreate");
  require(cudaEventCreate(&start), "cudaEventCreate"), require(cudaEventCreate(&end), "cudaEventCreate");
  Call calls[4];
  for (int i = 0; i < 4; i++) {
    const int64_t bytes = f->size(cases[i]);
    if (bytes < 0) std::printf("FAILED: %s: %s\n", f->name, attn4j::last_error()), std::exit(2);
    calls[i].capture(*f, cases[i], {allocate(bytes), bytes}, stream);
  }
  const double operations = 4. * static_cast<double>(n) * static_cast<double>(s.l);
  const int count = static_cast<int>(std::clamp(2e12 / operations, 2., 50.));
  for (int round = 0; round < kRounds; round++) {
    for (Call& call : calls) call.time(count, start, end, stream);
  }
  const float none = calls[0].median(), shown = calls[1].median(), most = calls[2].median(), most_l = calls[3].median();
  std::printf(
      "%-9s B=%ld H=%ld L=%ld D=%ld  no mask %9.1f us  all shown %9.1f (%.4f)  90%% %9.1f (%.4f)  length 90%% "
      "%9.1f (%.4f)\n",
      f->name, s.b, s.h, s.l, s.d, none, shown, shown / none, most, most / none, most_l, most_l / none);
  for (Call& call : calls) cudaGraphExecDestroy(call.graph);
  for (void* x : all) cudaFree(x);
  cudaStreamDestroy(stream);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> shapes(argv + 1, argv + argc);
  if (shapes.empty()) {
    shapes = {"fp8_sm90:2:24:4096:128", "fp8_sm90:2:24:16384:128", "fp8_sm90:4:32:8192:64", "int8:2:24:8192:128",
              "exact:2:24:8192:128",    "sage:2:24:1024:128",      "sage:1:24:4608:128"};
  }
  for (const std::string& text : shapes) {
    char kernel[32];
    long b = 0, h = 0, l = 0, d = 0;
    if (std::sscanf(text.c_str(), "%31[^:]:%ld:%ld:%ld:%ld", kernel, &b, &h, &l, &d) != 5) {
      std::printf("%s: KERNEL:B:H:L:D is accepted\n", text.c_str());
      return 2;
    }
    time_shape({kernel, b, h, l, d});
  }
  return 0;
}
