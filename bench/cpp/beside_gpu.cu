// Whether a call ends while another stream holds SMs, as NCCL's kernels do until other GPUs answer.
//
//   nvcc -std=c++17 -O3 -arch=native -Isrc/main/cpp/include bench/cpp/beside_gpu.cu -o beside_gpu -LFOLDER -lattn4j
//   ./beside_gpu [KERNEL:B:H:L:D ...]      KERNEL: exact, int8, fp8, fp8_sm90, sage
//
// A kernel of a stream of the highest priority keeps 1, 16, 64 and all but one of the SMs, each with a CTA that takes
// its shared memory, until the host lets it go. The call must end before that, with the bits of an undisturbed one. One
// that doesn't within 2 s waits for CTAs that can't begin: FAILED. The exit status is 0 only if all hold.
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "attn4j/attn4j.h"

namespace {

using attn4j::AttentionParams;
using attn4j::Status;
using attn4j::TensorView;
using attn4j::Workspace;
using Clock = std::chrono::steady_clock;

constexpr int kHeldBytes = 200 * 1024;  // of an SM's shared memory: nothing of ours fits beside
constexpr auto kPatience = std::chrono::seconds(2);

void require(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("FAILED: %s: %s\n", what, cudaGetErrorString(error));
  std::exit(2);
}

__global__ void fill(__half* x, int64_t n, uint32_t seed) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < n; i += int64_t{gridDim.x} * blockDim.x) {
    uint32_t a = (static_cast<uint32_t>(i) + seed * 0x9e3779b9u) * 0x7feb352dU;
    a = (a ^ a >> 15) * 0x846ca68bU;
    x[i] = __float2half(static_cast<float>(a >> 8) * 0x1p-23f - 1.f);
  }
}

__global__ void hold(int* began, const volatile int* released) {
  atomicAdd(began, 1);
  while (*released == 0) __nanosleep(1000);
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

// SMs that a kernel of the highest priority keeps, until `release`.
class Holder {
 public:
  explicit Holder(int sms) {
    int least = 0, greatest = 0;
    require(cudaDeviceGetStreamPriorityRange(&least, &greatest), "priorities");
    require(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, greatest), "a stream");
    require(cudaHostAlloc(&flags_, 2 * sizeof(int), cudaHostAllocMapped), "cudaHostAlloc");
    flags_[0] = flags_[1] = 0;
    require(cudaFuncSetAttribute(hold, cudaFuncAttributeMaxDynamicSharedMemorySize, kHeldBytes), "shared memory");
    hold<<<sms, 32, kHeldBytes, stream_>>>(flags_, flags_ + 1);
    require(cudaGetLastError(), "hold");
    while (const_cast<volatile int*>(flags_)[0] < sms) std::this_thread::yield();
  }
  void release() {
    const_cast<volatile int*>(flags_)[1] = 1;
    require(cudaStreamSynchronize(stream_), "hold");
  }
  ~Holder() {
    cudaStreamDestroy(stream_);
    cudaFreeHost(flags_);
  }

 private:
  cudaStream_t stream_ = nullptr;
  int* flags_ = nullptr;  // CTAs that have begun; whether they may end
};

struct Problem {
  const Function* function;
  AttentionParams params;
  Workspace workspace;
  int64_t elements;
  std::vector<__half> wanted;

  void run(cudaStream_t stream) const {
    if (function->run(params, workspace, stream) == Status::kOk) return;
    std::printf("FAILED: %s: %s\n", function->name, attn4j::last_error());
    std::exit(2);
  }
  std::vector<__half> output() const {
    std::vector<__half> o(static_cast<size_t>(elements));
    require(cudaMemcpy(o.data(), params.o.data, 2 * o.size(), cudaMemcpyDeviceToHost), "cudaMemcpy");
    return o;
  }
  bool is_wanted() const {
    const std::vector<__half> o = output();
    return std::equal(o.begin(), o.end(), wanted.begin(),
                      [](__half x, __half y) { return __half_as_ushort(x) == __half_as_ushort(y); });
  }
};

bool ends_beside(const Problem& p, int sms, cudaStream_t stream, cudaEvent_t end) {
  require(cudaMemset(p.params.o.data, 0xff, 2 * p.elements), "cudaMemset");
  require(cudaDeviceSynchronize(), "before");
  Holder holder(sms);
  const auto start = Clock::now();
  p.run(stream);
  require(cudaEventRecord(end, stream), "cudaEventRecord");
  cudaError_t state = cudaErrorNotReady;
  while ((state = cudaEventQuery(end)) == cudaErrorNotReady && Clock::now() - start < kPatience) {
  }
  const double ms = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  holder.release();
  require(cudaStreamSynchronize(stream), p.function->name);
  const bool right = p.is_wanted();
  const bool holds = state == cudaSuccess && right;
  std::printf("%s %s beside %d held SMs: %s after %.2f ms%s\n", holds ? "ok" : "FAILED", p.function->name, sms,
              state == cudaSuccess ? "ended" : "waited for them", ms, right ? "" : ", other bits");
  return holds;
}

bool check(const char* kernel, int64_t b, int64_t h, int64_t l, int64_t d) {
  Problem p = {};
  for (const Function& known : kFunctions) p.function = std::string(kernel) == known.name ? &known : p.function;
  if (p.function == nullptr) std::printf("FAILED: no kernel is called %s\n", kernel), std::exit(2);
  p.elements = b * h * l * d;
  TensorView* const views[] = {&p.params.q, &p.params.k, &p.params.v, &p.params.o};
  for (int j = 0; j < 4; j++) {
    const int64_t size[] = {b, h, l, d}, stride[] = {h * l * d, l * d, d, 1};
    std::copy(size, size + 4, views[j]->size), std::copy(stride, stride + 4, views[j]->stride);
    require(cudaMalloc(&views[j]->data, 2 * p.elements), "cudaMalloc");
    fill<<<1024, 256>>>(static_cast<__half*>(views[j]->data), p.elements, static_cast<uint32_t>(j));
  }
  const int64_t bytes = p.function->size(p.params);
  if (bytes < 0) std::printf("FAILED: %s: %s\n", kernel, attn4j::last_error()), std::exit(2);
  void* scratch = nullptr;
  require(cudaMalloc(&scratch, std::max<int64_t>(bytes, 256)), "cudaMalloc");
  p.workspace = {scratch, bytes};
  cudaStream_t stream;
  cudaEvent_t end;
  require(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
  require(cudaEventCreateWithFlags(&end, cudaEventDisableTiming), "an event");
  require(cudaDeviceSynchronize(), "fill");
  p.run(stream);
  require(cudaStreamSynchronize(stream), kernel);
  p.wanted = p.output();
  int sms = 0;
  require(cudaDeviceGetAttribute(&sms, cudaDevAttrMultiProcessorCount, 0), "multiprocessors");
  bool hold = true;
  for (const int held : {1, 16, 64, sms - 1}) hold &= ends_beside(p, held, stream, end);
  for (TensorView* view : views) cudaFree(view->data);
  cudaFree(scratch);
  cudaEventDestroy(end);
  cudaStreamDestroy(stream);
  return hold;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> shapes(argv + 1, argv + argc);
  if (shapes.empty()) {
    shapes = {"fp8_sm90:1:8:4096:128", "fp8_sm90:2:32:1024:128", "exact:1:8:2048:128", "int8:1:8:2048:128"};
  }
  bool hold = true;
  for (const std::string& text : shapes) {
    char kernel[32];
    long b = 0, h = 0, l = 0, d = 0;
    if (std::sscanf(text.c_str(), "%31[^:]:%ld:%ld:%ld:%ld", kernel, &b, &h, &l, &d) != 5) {
      std::printf("%s: KERNEL:B:H:L:D is accepted\n", text.c_str());
      return 2;
    }
    hold &= check(kernel, b, h, l, d);
  }
  return hold ? 0 : 1;
}
