// Times two builds of libattn4j.so in turn, in one process, shape by shape: what a change did to speed.
//
//   nvcc -std=c++17 -O2 -arch=native -Isrc/main/cpp/include bench/cpp/compare_gpu.cu -o compare_gpu -ldl
//   ./compare_gpu OLD/libattn4j.so NEW/libattn4j.so KERNEL...     one JSON row per shape on stdout
// KERNEL: sage, exact, int8_f16, fp8_sm90. Shapes are those of docs/choice.md and of real models, fp16, N(0,1);
// SHAPES="flux dense:8192:128:0": only those whose NAME:LQ:D:CAUSAL begins with one of these.
//
// "differs" is the relative L1 distance of the two builds' outputs, "repeats" whether the new build's has the same bits
// twice: the exit status is 1 where it hasn't, or where the distance is above 0.02.
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
#include <functional>
#include <sstream>
#include <string>
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

// Whether SHAPES names it, or nothing.
bool is_wanted(const Shape& s) {
  const char* wanted = std::getenv("SHAPES");
  if (wanted == nullptr) return true;
  char key[64];
  std::snprintf(key, sizeof key, "%s:%ld:%ld:%d", s.name, s.lq, s.d, s.causal);
  std::istringstream words(wanted);
  for (std::string word; words >> word;) {
    if (std::strncmp(key, word.c_str(), word.size()) == 0) return true;
  }
  return false;
}

// sums: of |x - y|, of |x|, and how many bits differ.
__global__ void difference_kernel(const uint16_t* x, const uint16_t* y, int64_t count, double* sums) {
  double distance = 0, size = 0, bits = 0;
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < count; i += int64_t{gridDim.x} * blockDim.x) {
    const float a = __half2float(__ushort_as_half(x[i])), b = __half2float(__ushort_as_half(y[i]));
    distance += fabsf(a - b), size += fabsf(a), bits += __popc(x[i] ^ y[i]);
  }
  atomicAdd(&sums[0], distance), atomicAdd(&sums[1], size), atomicAdd(&sums[2], bits);
}

struct Difference {
  double l1, bits;
};

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

  // The first call's output against `kept`, and then into it.
  Difference keep(uint16_t* kept, double* sums) const {
    const TensorView& o = params_[0].o;
    const int64_t count = o.size[0] * o.stride[0];
    double found[3];
    require(cudaMemset(sums, 0, sizeof found), "memset");
    difference_kernel<<<512, 256>>>(static_cast<const uint16_t*>(o.data), kept, count, sums);
    require(cudaMemcpy(found, sums, sizeof found, cudaMemcpyDeviceToHost), "difference");
    require(cudaMemcpy(kept, o.data, count * 2, cudaMemcpyDeviceToDevice), "copy");
    require(cudaMemset(o.data, 0xff, count * 2), "memset");
    require(cudaDeviceSynchronize(), "difference");
    return {found[0] / found[1], found[2]};
  }

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
    once_ = [=, &calls] { return run(calls.params()[0], workspace, stream) == Status::kOk; };
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
  void run_once(cudaStream_t stream) const {
    require(once_(), "run", "refused the second time");
    require(cudaStreamSynchronize(stream), "run");
  }

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
  std::function<bool()> once_;
};

float median(std::vector<float> x) {
  std::nth_element(x.begin(), x.begin() + x.size() / 2, x.end());
  return x[x.size() / 2];
}

// Whether the builds agree, and the new one with itself; prints both as JSON members.
bool agree(const Calls& calls, const Build& old_build, const Build& new_build, cudaStream_t stream) {
  const TensorView& o = calls.params()[0].o;
  uint16_t* kept;
  double* sums;
  require(cudaMalloc(&kept, o.size[0] * o.stride[0] * 2), "cudaMalloc");
  require(cudaMalloc(&sums, 3 * sizeof(double)), "cudaMalloc");
  const auto differs_from_last = [&](const Build& build) {
    build.run_once(stream);
    return calls.keep(kept, sums);
  };
  differs_from_last(old_build);
  const double distance = differs_from_last(new_build).l1, bits = differs_from_last(new_build).bits;
  cudaFree(kept), cudaFree(sums);
  std::printf("{\"differs\": %.6f, \"repeats\": %s, ", distance, bits == 0 ? "true" : "false");
  return distance <= 0.02 && bits == 0;
}

bool compare(const Kernel& kernel, const Shape& s, void* const (&libraries)[2], cudaStream_t stream) {
  const int64_t bytes = 4 * s.d * s.b * (s.hq * s.lq + s.hkv * s.lk);
  const int sets = static_cast<int>(std::clamp<int64_t>((160 << 20) / bytes + 1, 1, 16));
  const double operations = 4. * s.b * s.hq * s.lq * s.lk * s.d * (s.causal ? 0.5 : 1.);
  const int count = std::max(sets, static_cast<int>(std::min(1e12 / operations, 30.)));
  const Calls calls(s, sets);
  const Build old_build(libraries[0], kernel, calls, count, stream),
      new_build(libraries[1], kernel, calls, count, stream);
  if (!old_build.served() || !new_build.served()) return true;
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
  const bool good = agree(calls, old_build, new_build, stream);
  std::printf(
      "\"kernel\": \"%s\", \"shape\": \"%s\", \"b\": %ld, \"hq\": %ld, \"hkv\": %ld, \"lq\": %ld, \"lk\": %ld, "
      "\"d\": %ld, \"causal\": %d, \"old_us\": %.2f, \"new_us\": %.2f, \"ratio\": %.4f, \"tops\": %.1f}\n",
      kernel.name, s.name, s.b, s.hq, s.hkv, s.lq, s.lk, s.d, s.causal, median(before), median(after), median(ratio),
      operations / median(after) * 1e-6);
  std::fflush(stdout);
  cudaEventDestroy(start);
  cudaEventDestroy(end);
  return good;
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
  bool good = true;
  for (int i = 3; i < argc; i++) {
    for (const Kernel& kernel : kKernels) {
      if (std::strcmp(kernel.name, argv[i]) != 0) continue;
      for (const Shape& s : shapes()) {
        if (is_wanted(s)) good = compare(kernel, s, libraries, stream) && good;
      }
    }
  }
  return good ? 0 : 1;
}
