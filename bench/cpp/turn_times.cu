// Times builds of libattn4j.so in turn on the same inputs: whole calls, and their attention kernel alone.
//
//   nvcc -std=c++17 -O3 -arch=native -Isrc/main/cpp/include bench/cpp/turn_times.cu -o turn_times -ldl
//   ./turn_times KERNEL:B:H:L:D:CAUSAL... -- LIBRARY...        KERNEL: exact, int8, int8_acc16, fp8,
//                                                            fp8_acc16, sage
//
// fp16, N(0, 1), contiguous. Calls in a graph over rotating inputs that together exceed the L2 cache; medians of ROUNDS
// (5) rounds, in each of which every build has its turn. The kernel alone is the node of a captured call on which no
// other depends, launched again by itself; where the last round is divided by keys that is the merge, and says nothing.
// TOPS = 4 B H L L D / time, half of that if causal.
#include <cuda.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <dlfcn.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "attn4j/attn4j.h"

namespace {

using attn4j::AttentionParams;
using attn4j::DType;
using attn4j::Status;
using attn4j::TensorLayout;
using attn4j::TensorView;
using attn4j::Workspace;
using Run = Status (*)(const AttentionParams&, const Workspace&, CUstream_st*);
using Size = int64_t (*)(const AttentionParams&);

void require(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("FAILED: %s: %s\n", what, cudaGetErrorString(error));
  std::exit(2);
}

__device__ uint32_t mix(uint32_t x) {
  x ^= x >> 16, x *= 0x7feb352dU, x ^= x >> 15, x *= 0x846ca68bU;
  return x ^ (x >> 16);
}
__global__ void fill(__half* x, size_t n, uint32_t seed) {
  for (size_t i = blockIdx.x * size_t{blockDim.x} + threadIdx.x; i < n; i += size_t{gridDim.x} * blockDim.x) {
    const uint32_t a = mix(static_cast<uint32_t>(i) * 2u + seed * 7919u),
                   b = mix(a ^ (0x9e3779b9u + static_cast<uint32_t>(i)));
    const float radius = sqrtf(-2.f * logf(static_cast<float>((a >> 8) + 1) * (1.f / 16777217.f)));
    x[i] = __float2half(radius * cospif(2.f * static_cast<float>(b >> 8) * (1.f / 16777216.f)));
  }
}

// The driver's functions come through the runtime: libcuda isn't linked.
template <class F>
F driver(const char* name) {
  void* p = nullptr;
  cudaDriverEntryPointQueryResult result;
  require(cudaGetDriverEntryPointByVersion(name, &p, 12000, cudaEnableDefault, &result), name);
  return reinterpret_cast<F>(p);
}

struct Shape {
  char kernel[32];
  int b, h, l, d, causal;
  double operations() const { return 4. * b * h * double(l) * l * d * (causal ? 0.5 : 1.); }
};

// Inputs that exceed the cache together.
struct Inputs {
  std::vector<AttentionParams> sets;
  std::vector<void*> memory;

  explicit Inputs(const Shape& s) {
    const int64_t n = int64_t{s.b} * s.h * s.l * s.d;
    sets.resize(std::clamp<int64_t>((200 << 20) / (8 * n) + 1, 1, 24));
    for (size_t i = 0; i < sets.size(); i++) {
      AttentionParams& p = sets[i];
      p.tensor_layout = TensorLayout::kHND, p.is_causal = s.causal != 0;
      if (std::strcmp(s.kernel, "int8_acc16") == 0) p.pv_accum_dtype = attn4j::PvAccumDType::kFp16Fp32;
      if (std::strcmp(s.kernel, "fp8_acc16") == 0) p.pv_accum_dtype = attn4j::PvAccumDType::kFp32Fp16;
      TensorView* const views[] = {&p.q, &p.k, &p.v, &p.o};
      for (int j = 0; j < 4; j++) {
        const int64_t size[] = {s.b, s.h, s.l, s.d}, stride[] = {n / s.b, int64_t{s.l} * s.d, s.d, 1};
        views[j]->dtype = DType::kFloat16;
        std::copy(size, size + 4, views[j]->size), std::copy(stride, stride + 4, views[j]->stride);
        require(cudaMalloc(&views[j]->data, n * 2), "cudaMalloc");
        memory.push_back(views[j]->data);
        fill<<<1024, 256>>>(static_cast<__half*>(views[j]->data), n, static_cast<uint32_t>(4 * i + j));
      }
    }
    require(cudaDeviceSynchronize(), "fill");
  }
  ~Inputs() {
    for (void* p : memory) cudaFree(p);
  }
};

// One build's calls.
class Build {
 public:
  Build(const std::string& path, const Shape& s, Inputs* inputs, cudaStream_t stream) : stream_(stream) {
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) std::printf("%s\n", dlerror()), std::exit(2);
    const std::string k = s.kernel, name = k == "exact"                   ? "exact_attn"
                                           : k.compare(0, 4, "int8") == 0 ? "sageattn_qk_int8_pv_fp16_cuda"
                                           : k.compare(0, 3, "fp8") == 0  ? "sageattn_qk_int8_pv_fp8_cuda"
                                                                          : "sageattn";
    const auto symbol = [&](const std::string& f, const char* arguments) {
      return dlsym(library, ("_ZN6attn4j" + std::to_string(f.size()) + f + arguments).c_str());
    };
    const auto run = reinterpret_cast<Run>(symbol(name, "ERKNS_15AttentionParamsERKNS_9WorkspaceEP11CUstream_st"));
    const auto size = reinterpret_cast<Size>(symbol(name + "_workspace_size", "ERKNS_15AttentionParamsE"));
    if (run == nullptr || size == nullptr) std::printf("%s has no %s\n", path.c_str(), name.c_str()), std::exit(2);
    const int64_t bytes = size(inputs->sets[0]);
    void* memory = nullptr;
    if (bytes > 0) require(cudaMalloc(&memory, bytes), "workspace");
    inputs->memory.push_back(memory);
    if (bytes < 0 || run(inputs->sets[0], {memory, bytes}, stream) != Status::kOk) return;
    const int sets = static_cast<int>(inputs->sets.size());
    calls_ = std::max(sets, static_cast<int>(std::min(4e11 / s.operations(), 50.)));
    const auto capture = [&](int calls) {
      cudaGraph_t graph;
      require(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
      for (int i = 0; i < calls; i++) run(inputs->sets[i % sets], {memory, bytes}, stream);
      require(cudaStreamEndCapture(stream, &graph), "capture");
      return graph;
    };
    require(cudaGraphInstantiate(&all_, capture(calls_), 0), "graph");
    take_last(capture(1));
  }

  bool serves() const { return calls_ > 0; }
  void measure(bool counts) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));  // clocks recover
    const float call = watch([&] { cudaGraphLaunch(all_, stream_); }) / calls_;
    const int times = std::min(calls_, 8);
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    const float kernel = watch([&] {
      for (int i = 0; i < times; i++) cudaGraphLaunch(last_, stream_);
    });
    if (counts) call_us_.push_back(call), kernel_us_.push_back(kernel / times);
  }
  static float median(std::vector<float> x) {
    std::sort(x.begin(), x.end());
    return x[x.size() / 2];
  }
  float call_us() const { return median(call_us_); }
  float kernel_us() const { return median(kernel_us_); }

 private:
  // Makes a graph of the one node on which no other depends.
  void take_last(cudaGraph_t call) {
    const auto parameters = driver<CUresult (*)(CUgraphNode, CUDA_KERNEL_NODE_PARAMS*)>("cuGraphKernelNodeGetParams");
    const auto add =
        driver<CUresult (*)(CUgraphNode*, CUgraph, const CUgraphNode*, size_t, const CUDA_KERNEL_NODE_PARAMS*)>(
            "cuGraphAddKernelNode");
    size_t count = 0;
    require(cudaGraphGetNodes(call, nullptr, &count), "nodes");
    std::vector<cudaGraphNode_t> nodes(count);
    require(cudaGraphGetNodes(call, nodes.data(), &count), "nodes");
    for (cudaGraphNode_t node : nodes) {
      size_t dependents = 0;
      require(cudaGraphNodeGetDependentNodes(node, nullptr, nullptr, &dependents), "nodes");
      if (dependents > 0) continue;
      CUDA_KERNEL_NODE_PARAMS p;
      cudaGraph_t graph;
      CUgraphNode added;
      require(cudaGraphCreate(&graph, 0), "graph");
      if (parameters(node, &p) != CUDA_SUCCESS || add(&added, graph, nullptr, 0, &p) != CUDA_SUCCESS) continue;
      require(cudaGraphInstantiate(&last_, graph, 0), "graph");
    }
  }
  template <class F>
  float watch(F f) const {
    cudaEvent_t start, end;
    float ms;
    cudaEventCreate(&start), cudaEventCreate(&end);
    cudaEventRecord(start, stream_);
    f();
    cudaEventRecord(end, stream_);
    require(cudaEventSynchronize(end), "event");
    require(cudaEventElapsedTime(&ms, start, end), "event");
    cudaEventDestroy(start), cudaEventDestroy(end);
    return ms * 1000;
  }

  cudaStream_t stream_;
  cudaGraphExec_t all_ = nullptr, last_ = nullptr;
  int calls_ = 0;
  std::vector<float> call_us_, kernel_us_;
};

void time_shape(const Shape& s, const std::vector<std::string>& libraries) {
  cudaStream_t stream;
  require(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
  Inputs inputs(s);
  std::vector<Build> builds;
  for (const std::string& path : libraries) builds.emplace_back(path, s, &inputs, stream);
  const int rounds = std::getenv("ROUNDS") != nullptr ? std::atoi(std::getenv("ROUNDS")) : 5;
  for (int round = 0; round <= rounds; round++) {
    for (Build& build : builds) {
      if (build.serves()) build.measure(round > 0);
    }
  }
  for (size_t i = 0; i < builds.size(); i++) {
    if (!builds[i].serves()) continue;
    const float call = builds[i].call_us(), kernel = builds[i].kernel_us();
    std::printf(
        "{\"kernel\": \"%s\", \"b\": %d, \"h\": %d, \"l\": %d, \"d\": %d, \"causal\": %d, \"library\": \"%s\", \"us\": "
        "%.1f, "
        "\"tops\": %.1f, \"kernel_us\": %.1f, \"kernel_tops\": %.1f}\n",
        s.kernel, s.b, s.h, s.l, s.d, s.causal, libraries[i].c_str(), call, s.operations() / call * 1e-6, kernel,
        s.operations() / kernel * 1e-6);
  }
  std::fflush(stdout);
  cudaStreamDestroy(stream);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<Shape> shapes;
  std::vector<std::string> libraries;
  bool behind = false;
  for (int i = 1; i < argc; i++) {
    Shape s;
    if (std::strcmp(argv[i], "--") == 0) {
      behind = true;
    } else if (behind) {
      libraries.push_back(argv[i]);
    } else if (std::sscanf(argv[i], "%31[^:]:%d:%d:%d:%d:%d", s.kernel, &s.b, &s.h, &s.l, &s.d, &s.causal) == 6) {
      shapes.push_back(s);
    } else {
      std::printf("%s isn't KERNEL:B:H:L:D:CAUSAL\n", argv[i]);
      return 2;
    }
  }
  for (const Shape& s : shapes) time_shape(s, libraries);
}
