// Times two builds of libattn4j.so in turn, in one process, shape by shape: what a change did to speed.
//
//   nvcc -std=c++17 -O2 -arch=native -Isrc/main/cpp/include bench/cpp/compare_gpu.cu -o compare_gpu -ldl
//   ./compare_gpu OLD/libattn4j.so NEW/libattn4j.so KERNEL...     one JSON row per shape on stdout
// KERNEL: sage, exact, int8_f16, fp8_sm90. Shapes are those of docs/choice.md and of real models, fp16, N(0,1).
//
// Each build's calls over rotating inputs, which together exceed the L2 cache, are a CUDA graph; the graphs run
// alternately with pauses, and the ratio is the median of the ratios of neighbours, so that a drifting clock cancels.
#include <cuda_runtime.h>
#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "accuracy.cuh"
#include "attn4j/attn4j.h"

namespace {

using namespace attn4j_bench;
using attn4j::Status;
using attn4j::Workspace;
using Run = Status (*)(const AttentionParams&, const Workspace&, CUstream_st*);
using Size = int64_t (*)(const AttentionParams&);

constexpr int kRounds = 9;

void require(bool held, const char* what, const char* detail) {
  if (held) return;
  std::fprintf(stderr, "%s: %s\n", what, detail);
  std::exit(2);
}
void require(cudaError_t error, const char* what) { require(error == cudaSuccess, what, cudaGetErrorString(error)); }

// The C++ names of the functions, as the compiler mangles them.
struct Kernel {
  const char *name, *run, *size;
};
const Kernel kKernels[] = {
    {"sage", "_ZN6attn4j8sageattnERKNS_15AttentionParamsERKNS_9WorkspaceEP11CUstream_st",
     "_ZN6attn4j23sageattn_workspace_sizeERKNS_15AttentionParamsE"},
    {"exact", "_ZN6attn4j10exact_attnERKNS_15AttentionParamsERKNS_9WorkspaceEP11CUstream_st",
     "_ZN6attn4j25exact_attn_workspace_sizeERKNS_15AttentionParamsE"},
    {"int8_f16", "_ZN6attn4j29sageattn_qk_int8_pv_fp16_cudaERKNS_15AttentionParamsERKNS_9WorkspaceEP11CUstream_st",
     "_ZN6attn4j44sageattn_qk_int8_pv_fp16_cuda_workspace_sizeERKNS_15AttentionParamsE"},
    {"fp8_sm90", "_ZN6attn4j33sageattn_qk_int8_pv_fp8_cuda_sm90ERKNS_15AttentionParamsERKNS_9WorkspaceEP11CUstream_st",
     "_ZN6attn4j48sageattn_qk_int8_pv_fp8_cuda_sm90_workspace_sizeERKNS_15AttentionParamsE"}};

struct Shape {
  const char* name;
  int64_t b, hq, hkv, lq, lk, d;
  int causal;
};

std::vector<Shape> shapes() {
  std::vector<Shape> all;
  for (const int64_t l : {1024, 2048, 4096, 8192, 16384}) {
    for (const int64_t d : {128, 64, 96}) {
      for (const int causal : {0, 1}) all.push_back({"dense", 4, 32, 32, l, l, d, causal});
    }
  }
  for (const Shape& s : {Shape{"sdxl_self4096", 2, 10, 10, 4096, 4096, 64, 0},
                         {"sdxl_self1024", 2, 20, 20, 1024, 1024, 64, 0},
                         {"sdxl_cross77", 2, 10, 10, 4096, 77, 64, 0},
                         {"flux", 1, 24, 24, 4608, 4608, 128, 0},
                         {"sd15_40", 2, 8, 8, 4096, 4096, 40, 0},
                         {"sd15_80", 2, 8, 8, 1024, 1024, 80, 0},
                         {"wan_480p", 1, 12, 12, 32760, 32760, 128, 0},
                         {"cogvideox", 1, 30, 30, 17776, 17776, 64, 0},
                         {"hd96", 2, 16, 16, 4096, 4096, 96, 0},
                         {"gqa", 1, 32, 8, 8192, 8192, 128, 0},
                         {"llm512", 1, 32, 8, 512, 512, 128, 0},
                         {"decode4097", 8, 32, 8, 1, 4097, 128, 0}}) {
    all.push_back(s);
  }
  return all;
}

// Inputs and outputs of some calls of one shape.
class Calls {
 public:
  Calls(const Shape& s, int count) {
    for (int i = 0; i < count; i++) {
      AttentionParams p;
      p.q = tensor(s, s.hq, s.lq, 3 * i + 1), p.k = tensor(s, s.hkv, s.lk, 3 * i + 2);
      p.v = tensor(s, s.hkv, s.lk, 3 * i + 3), p.o = tensor(s, s.hq, s.lq, 0);
      p.is_causal = s.causal != 0;
      params_.push_back(p);
    }
  }
  ~Calls() {
    for (void* p : memory_) cudaFree(p);
  }
  Calls(const Calls&) = delete;
  const std::vector<AttentionParams>& params() const { return params_; }

 private:
  TensorView tensor(const Shape& s, int64_t heads, int64_t rows, int seed) {
    TensorView t;
    t.dtype = DType::kFloat16;
    const int64_t size[] = {s.b, heads, rows, s.d}, stride[] = {heads * rows * s.d, rows * s.d, s.d, 1};
    std::memcpy(t.size, size, sizeof size);
    std::memcpy(t.stride, stride, sizeof stride);
    require(cudaMalloc(&t.data, s.b * heads * rows * s.d * 2), "cudaMalloc");
    memory_.push_back(t.data);
    if (seed > 0) fill_kernel<<<512, 256>>>(t, TensorLayout::kHND, Distribution{}, seed);
    require(cudaGetLastError(), "fill");
    return t;
  }
  std::vector<AttentionParams> params_;
  std::vector<void*> memory_;
};

// One build's calls as a graph.
class Build {
 public:
  Build(void* library, const Kernel& kernel, const Calls& calls, int count, cudaStream_t stream) {
    const Run run = reinterpret_cast<Run>(dlsym(library, kernel.run));
    const Size size = reinterpret_cast<Size>(dlsym(library, kernel.size));
    require(run != nullptr && size != nullptr, kernel.name, "the library lacks the function");
    const auto& params = calls.params();
    const int64_t bytes = size(params[0]);
    if (bytes < 0) return;
    require(cudaMalloc(&workspace_, bytes + 256), "cudaMalloc");
    const Workspace workspace{workspace_, bytes};
    if (run(params[0], workspace, stream) != Status::kOk) return;
    require(cudaStreamSynchronize(stream), kernel.name);
    cudaGraph_t graph;
    require(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
    for (int i = 0; i < count; i++) run(params[i % params.size()], workspace, stream);
    require(cudaStreamEndCapture(stream, &graph), "capture");
    require(cudaGraphInstantiate(&graph_, graph, 0), "graph");
    cudaGraphDestroy(graph);
  }
  ~Build() {
    if (graph_ != nullptr) cudaGraphExecDestroy(graph_);
    cudaFree(workspace_);
  }
  Build(const Build&) = delete;
  bool served() const { return graph_ != nullptr; }

  float milliseconds(cudaStream_t stream, cudaEvent_t start, cudaEvent_t end) const {
    std::this_thread::sleep_for(std::chrono::milliseconds(4));
    require(cudaEventRecord(start, stream), "event");
    require(cudaGraphLaunch(graph_, stream), "graph");
    require(cudaEventRecord(end, stream), "event");
    require(cudaEventSynchronize(end), "event");
    float ms;
    require(cudaEventElapsedTime(&ms, start, end), "event");
    return ms;
  }

 private:
  void* workspace_ = nullptr;
  cudaGraphExec_t graph_ = nullptr;
};

float median(std::vector<float> x) {
  std::nth_element(x.begin(), x.begin() + x.size() / 2, x.end());
  return x[x.size() / 2];
}

void compare(const Kernel& kernel, const Shape& s, void* const (&libraries)[2], cudaStream_t stream) {
  const int64_t bytes = 4 * s.d * s.b * (s.hq * s.lq + s.hkv * s.lk);
  const int sets = static_cast<int>(std::clamp<int64_t>((160 << 20) / bytes + 1, 1, 16));
  const double operations = 4. * s.b * s.hq * s.lq * s.lk * s.d * (s.causal ? 0.5 : 1.);
  const int count = std::max(sets, static_cast<int>(std::min(1e12 / operations, 30.)));
  const Calls calls(s, sets);
  const Build old_build(libraries[0], kernel, calls, count, stream),
      new_build(libraries[1], kernel, calls, count, stream);
  if (!old_build.served() || !new_build.served()) return;
  cudaEvent_t start, end;
  require(cudaEventCreate(&start), "event");
  require(cudaEventCreate(&end), "event");
  std::vector<float> before, after, ratio;
  for (int i = 0; i <= kRounds; i++) {  // the first warms up; who begins alternates
    float us[2];
    for (const int which : {i % 2, 1 - i % 2}) {
      us[which] = (which == 0 ? old_build : new_build).milliseconds(stream, start, end) * 1000 / count;
    }
    if (i == 0) continue;
    before.push_back(us[0]), after.push_back(us[1]), ratio.push_back(us[1] / us[0]);
  }
  std::printf(
      "{\"kernel\": \"%s\", \"shape\": \"%s\", \"b\": %ld, \"hq\": %ld, \"hkv\": %ld, \"lq\": %ld, \"lk\": %ld, "
      "\"d\": %ld, \"causal\": %d, \"old_us\": %.2f, \"new_us\": %.2f, \"ratio\": %.4f, \"tops\": %.1f}\n",
      kernel.name, s.name, s.b, s.hq, s.hkv, s.lq, s.lk, s.d, s.causal, median(before), median(after), median(ratio),
      operations / median(after) * 1e-6);
  std::fflush(stdout);
  cudaEventDestroy(start);
  cudaEventDestroy(end);
}

}  // namespace

int main(int argc, char** argv) {
  require(argc > 3, "usage", "compare_gpu OLD.so NEW.so KERNEL...");
  void* libraries[2];
  for (int i = 0; i < 2; i++) {
    libraries[i] = dlopen(argv[i + 1], RTLD_NOW | RTLD_LOCAL);
    require(libraries[i] != nullptr, argv[i + 1], libraries[i] == nullptr ? dlerror() : "");
  }
  cudaStream_t stream;
  require(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
  for (int i = 3; i < argc; i++) {
    for (const Kernel& kernel : kKernels) {
      if (std::strcmp(kernel.name, argv[i]) != 0) continue;
      for (const Shape& s : shapes()) compare(kernel, s, libraries, stream);
    }
  }
  return 0;
}
