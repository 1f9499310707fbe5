// Checks and times the attention functions of libattn4j.so through their public API.
//
//   nvcc -std=c++17 -O3 -arch=native -Isrc/main/cpp/include bench/cpp/attn_gpu.cu -o attn_gpu -L DIR -lattn4j
//   ./attn_gpu check KERNEL...      semantics over seeded random shapes; exit status 0 only if all hold
//   ./attn_gpu accuracy KERNEL...   cos, L1, RMSE on the two data sets of docs/accuracy.md
//   ./attn_gpu time KERNEL...       one JSON row per shape on stdout
//   ./attn_gpu sustain KERNEL...    the same, a few shapes, each after two seconds of nothing else: power is the limit
//   ./attn_gpu probe KERNEL...      the same at one length, for experiments
//   ./attn_gpu sanitize KERNEL...   a few small shapes, for compute-sanitizer
//   ./attn_gpu hard KERNEL...       hard data, one JSON row per case (hard_check.cuh); HARD=name: only those data sets
// KERNEL: exact, int8_f16, int8_acc16, fp8, fp8_acc16, fp8_sm90, sage (may pick any of them: held to the widest bars)
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "accumulators.cuh"
#include "accuracy.cuh"
#include "attn4j/attn4j.h"
#include "hard_check.cuh"

namespace {

using namespace attn4j_bench;
using attn4j::Status;
using attn4j::Workspace;

void require(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("FAILED: %s: %s\n", what, cudaGetErrorString(error));
  std::exit(2);
}

struct Kernel {
  const char* name;
  Status (*run)(const AttentionParams&, const Workspace&, CUstream_st*) noexcept;
  int64_t (*size)(const AttentionParams&) noexcept;
  double l1_bound, max_bound;  // relative L1 over a case; largest single error, in units of the rms of V
  double lse_bound;
  int max_head_dim;
  int least_granularity;  // coarser ones are refused; as QuantGranularity counts them
};

// The L1 bounds hold on N(0, 1) data: int8_f16 and fp8 from the accuracy bars of the project, exact from 16-bit
// rounding of P and O (2^-9 for bf16, 2^-12 for fp16; the bf16 figure is used for both).
// LSE: INT8 steps of N(0, 1) rows are about 4.2 / 127: an error of 0.0095 rms per element of Q and of K, 0.0135 rms in
// a score scaled by 1 / sqrt(d). An LSE over one key has all of it: 6 sigma. With FP8 it also has the rounding of that
// key's probability to e4m3, log(1 + 1/16) at most.
constexpr double kScoreLse = 0.08, kRoundedLse = 0.061;
const Kernel kKernels[] = {
    {"exact", attn4j::exact_attn, attn4j::exact_attn_workspace_size, 0.006, 0.03, kScoreLse, 256, 0},
    {"int8_f16", attn4j::sageattn_qk_int8_pv_fp16_cuda, attn4j::sageattn_qk_int8_pv_fp16_cuda_workspace_size, 0.02, 0.2,
     kScoreLse, 128, 0},
    {"int8_acc16", attn4j_bench::int8_acc16, attn4j_bench::int8_acc16_size, 0.02, 0.2, kScoreLse, 128, 0},
    {"fp8", attn4j::sageattn_qk_int8_pv_fp8_cuda, attn4j::sageattn_qk_int8_pv_fp8_cuda_workspace_size, 0.05, 0.4,
     kScoreLse + kRoundedLse, 128, 0},
    {"fp8_acc16", attn4j_bench::fp8_acc16, attn4j_bench::fp8_acc16_size, 0.05, 0.4, kScoreLse + kRoundedLse, 128, 0},
    {"fp8_sm90", attn4j::sageattn_qk_int8_pv_fp8_cuda_sm90, attn4j::sageattn_qk_int8_pv_fp8_cuda_sm90_workspace_size,
     0.05, 0.4, kScoreLse + kRoundedLse, 128, 2},
    {"sage", attn4j::sageattn, attn4j::sageattn_workspace_size, 0.05, 0.4, kScoreLse, 128, 0},
};

// Device memory with canaries on both sides, filled with 0xFF (NaN in every 16-bit float) before use.
class Buffer {
 public:
  static constexpr int64_t kGuard = 4096;
  explicit Buffer(int64_t bytes) : bytes_(bytes) {
    require(cudaMalloc(&memory_, bytes + 2 * kGuard), "cudaMalloc");
    poison();
    // The fill runs on the default stream, which a non-blocking stream doesn't wait for.
    require(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  }
  ~Buffer() { cudaFree(memory_); }
  Buffer(const Buffer&) = delete;
  void poison() { require(cudaMemset(memory_, 0xFF, bytes_ + 2 * kGuard), "cudaMemset"); }
  char* data() const { return memory_ + kGuard; }
  bool intact() const {
    std::vector<unsigned char> guard(2 * kGuard);
    require(cudaMemcpy(guard.data(), memory_, kGuard, cudaMemcpyDeviceToHost), "copy");
    require(cudaMemcpy(guard.data() + kGuard, data() + bytes_, kGuard, cudaMemcpyDeviceToHost), "copy");
    return std::all_of(guard.begin(), guard.end(), [](unsigned char x) { return x == 0xFF; });
  }

 private:
  char* memory_ = nullptr;
  int64_t bytes_;
};

struct Case {
  int64_t b = 1, hq = 1, hkv = 1, lq = 1, lk = 1, d = 64;
  DType dtype = DType::kFloat16;
  TensorLayout layout = TensorLayout::kHND;
  int causal = 0;     // 0 none, 1 top-left, 2 bottom-right
  int64_t gap = 0;    // elements between rows
  int64_t shift = 0;  // elements of storage offset
  bool lse = true, lengths = false, smooth_k = true;
  float scale = NAN;
  int granularity = 2;

  void print() const {
    std::printf(
        "b=%ld hq=%ld hkv=%ld lq=%ld lk=%ld d=%ld %s %s causal=%d gap=%ld shift=%ld lse=%d lengths=%d smooth=%d "
        "gran=%d scale=%g",
        b, hq, hkv, lq, lk, d, dtype == DType::kFloat16 ? "f16" : "bf16", layout == TensorLayout::kHND ? "HND" : "NHD",
        causal, gap, shift, lse, lengths, smooth_k, granularity, scale);
  }
};

// The tensors of one case.
struct Problem {
  Case c;
  AttentionParams params;
  std::vector<Buffer*> buffers;
  Buffer* workspace = nullptr;

  explicit Problem(const Case& c_) : c(c_) {
    params.tensor_layout = c.layout;
    params.q = tensor(c.hq, c.lq), params.k = tensor(c.hkv, c.lk), params.v = tensor(c.hkv, c.lk);
    params.o = tensor(c.hq, c.lq);
    if (c.lse) params.lse = raw(c.b * c.hq * c.lq * 4);
    params.is_causal = c.causal != 0;
    params.causal_alignment = c.causal == 2 ? attn4j::CausalAlignment::kBottomRight : attn4j::CausalAlignment::kTopLeft;
    params.has_sm_scale = !std::isnan(c.scale);
    params.sm_scale = params.has_sm_scale ? c.scale : 0.f;
    params.smooth_k = c.smooth_k;
    params.qk_quant_gran = static_cast<attn4j::QuantGranularity>(c.granularity);
    if (c.lengths) {
      std::vector<int32_t> lengths(c.b);
      for (int64_t i = 0; i < c.b; i++)
        lengths[i] = static_cast<int32_t>((c.lk * (i + 1)) / c.b - (i == 0 ? c.lk / c.b : 0));
      void* p = raw(c.b * 4);
      require(cudaMemcpy(p, lengths.data(), c.b * 4, cudaMemcpyHostToDevice), "copy");
      params.kv_lengths = p;
    }
  }
  ~Problem() {
    for (Buffer* b : buffers) delete b;
    delete workspace;
  }
  Problem(const Problem&) = delete;

  void* raw(int64_t bytes) {
    buffers.push_back(new Buffer(bytes));
    return buffers.back()->data();
  }
  TensorView tensor(int64_t heads, int64_t rows) {
    TensorView t;
    t.dtype = c.dtype;
    const bool hnd = c.layout == TensorLayout::kHND;
    const int64_t row = c.d + c.gap;
    const int64_t sizes[4] = {c.b, hnd ? heads : rows, hnd ? rows : heads, c.d};
    const int64_t strides[4] = {heads * rows * row, hnd ? rows * row : heads * row, row, 1};
    std::copy(sizes, sizes + 4, t.size);
    std::copy(strides, strides + 4, t.stride);
    t.data = static_cast<uint16_t*>(raw((c.b * heads * rows * row + c.shift) * 2)) + c.shift;
    return t;
  }
  void fill(uint64_t seed, Distribution q, Distribution k, Distribution v) {
    launch(fill_kernel, 1024, 256, 0, params.q, c.layout, q, seed);
    if (c.lk > 0) {
      launch(fill_kernel, 1024, 256, 0, params.k, c.layout, k, seed + 1);
      launch(fill_kernel, 1024, 256, 0, params.v, c.layout, v, seed + 2);
    }
    require(cudaGetLastError(), "fill");
    require(cudaDeviceSynchronize(), "fill");
  }
  bool run(const Kernel& kernel, cudaStream_t stream = nullptr) {
    const int64_t bytes = kernel.size(params);
    if (bytes < 0) {
      std::printf("refused: %s\n", attn4j::last_error());
      return false;
    }
    if (workspace == nullptr) workspace = new Buffer(bytes);
    const Status status = kernel.run(params, {workspace->data(), bytes}, stream);
    if (status != Status::kOk) std::printf("status %d: %s\n", static_cast<int>(status), attn4j::last_error());
    return status == Status::kOk;
  }
  Accuracy compare(int64_t stride_rows) const {
    Accuracy* device = nullptr;
    require(cudaMalloc(&device, sizeof(Accuracy)), "cudaMalloc");
    require(cudaMemset(device, 0, sizeof(Accuracy)), "cudaMemset");
    const int64_t rows = (c.b * c.hq * c.lq + stride_rows - 1) / stride_rows;
    const size_t smem = std::max<int64_t>(c.lk, 1) * sizeof(float);
    require(cudaFuncSetAttribute(compare_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(smem)),
            "shared memory of the reference");
    launch(compare_kernel, static_cast<unsigned>(rows), 128, smem, params, stride_rows, device, BlockMap{});
    Accuracy a;
    require(cudaMemcpy(&a, device, sizeof a, cudaMemcpyDeviceToHost), "reference");
    cudaFree(device);
    return a;
  }
  bool intact() const {
    return std::all_of(buffers.begin(), buffers.end(), [](Buffer* b) { return b->intact(); }) &&
           (workspace == nullptr || workspace->intact());
  }
};

bool check(const Kernel& kernel, const Case& c, uint64_t seed) {
  Problem p(c);
  p.fill(seed, {}, {}, {});
  bool ok = p.run(kernel);
  require(cudaDeviceSynchronize(), kernel.name);
  if (!ok) {
    std::printf("  %s ", kernel.name);
    c.print();
    std::printf("\n");
    return false;
  }
  const int64_t rows = c.b * c.hq * c.lq;
  const Accuracy a = p.compare(std::max<int64_t>(1, rows / 2000));
  const double l1 = a.ref1 > 0 ? a.error1 / a.ref1 : a.error1;
  // The error of an INT8 score is proportional to the softmax scale, and so is what it does to the probabilities.
  const double sharpness = std::isnan(c.scale) ? 1.0 : std::max(1.0, std::fabs(c.scale) * std::sqrt(c.d));
  // A handful of keys average out no rounding error: the bound of a case is the larger of relative and absolute error.
  const bool close = l1 <= kernel.l1_bound * sharpness || a.max_error <= kernel.max_bound * 0.1;
  const bool lse_close = a.max_lse_error <= kernel.lse_bound * sharpness;
  ok = a.bad == 0 && close && a.max_error <= kernel.max_bound * sharpness && lse_close && p.intact();
  if (!ok) {
    std::printf("  WRONG %s ", kernel.name);
    c.print();
    std::printf(": L1 %.5f max %.5f lse %.5f bad %llu of %llu intact %d\n", l1, a.max_error, a.max_lse_error, a.bad,
                a.count, p.intact());
  }
  return ok;
}

std::vector<Case> random_cases(const Kernel& kernel, int count, uint64_t seed) {
  const int64_t lengths[] = {1, 7, 63, 64, 65, 127, 128, 129, 200, 1000, 1500};
  const int64_t dims[] = {8, 40, 64, 72, 80, 96, 112, 128, 33, 160, 192, 256};
  std::mt19937_64 random(seed);
  const auto pick = [&](auto& list) { return list[random() % (sizeof list / sizeof list[0])]; };
  std::vector<Case> cases;
  while (static_cast<int>(cases.size()) < count) {
    Case c;
    c.b = 1 + random() % 3, c.hkv = 1 + random() % 3;
    const int64_t groups[] = {1, 1, 4, 8};
    c.hq = c.hkv * pick(groups);
    c.lq = pick(lengths), c.lk = random() % 20 == 0 ? 0 : pick(lengths), c.d = pick(dims);
    if (random() % 4 == 0) c.lq = 1 + random() % 128, c.lk = 1 + random() % 6000;  // few queries on many keys
    if (c.d > kernel.max_head_dim) continue;
    c.dtype = random() % 2 ? DType::kFloat16 : DType::kBFloat16;
    c.layout = random() % 2 ? TensorLayout::kHND : TensorLayout::kNHD;
    c.causal = random() % 3;
    const int64_t gaps[] = {0, 0, 8, 64, 3};
    const int64_t shifts[] = {0, 0, 0, 8, 1};
    c.gap = pick(gaps), c.shift = pick(shifts);
    c.lse = random() % 2, c.lengths = random() % 4 == 0, c.smooth_k = random() % 4 != 0;
    const float scales[] = {NAN, NAN, NAN, -0.1f, 0.f, 0.3f, 1e-4f};
    c.scale = pick(scales);
    c.granularity = std::max(kernel.least_granularity, static_cast<int>(random() % 3));
    cases.push_back(c);
  }
  return cases;
}

// 200 repeats, bit for bit, over the same poisoned buffers. On most GPUs items are divided by keys where nothing is
// causal. The number of those that differ.
int repeat(const Kernel& kernel, int causal) {
  Case c;
  c.b = 2, c.hq = 8, c.hkv = 4, c.lq = 700, c.lk = 1111, c.d = 128, c.causal = causal;
  Problem p(c);
  p.fill(5, {}, {}, {});
  const int64_t bytes = c.b * c.hq * c.lq * c.d * 2;
  std::vector<char> first(bytes), again(bytes);
  int different = 0;
  for (int i = 0; i < 200; i++) {
    require(cudaMemset(p.params.o.data, 0xFF, bytes), "cudaMemset");
    if (p.workspace != nullptr) p.workspace->poison();
    if (!p.run(kernel)) return 1;
    require(cudaMemcpy((i == 0 ? first : again).data(), p.params.o.data, bytes, cudaMemcpyDeviceToHost), "copy");
    if (i > 0) different += first != again;
  }
  std::printf("%s, causal=%d: %d of 199 repeats differ\n", kernel.name, causal, different);
  return different;
}

int check_all(const Kernel& kernel, int count) {
  int failed = 0;
  for (const Case& c : random_cases(kernel, count, 20261123)) failed += !check(kernel, c, 1234 + failed);
  std::printf("%s: %d passed, %d failed\n", kernel.name, count - failed, failed);

  return failed + repeat(kernel, 2) + repeat(kernel, 0);
}

void print_accuracy(const Kernel& kernel) {
  for (const bool outlier : {false, true}) {
    for (const int64_t d : {64, 96, 128}) {
      for (const int64_t l : {4096, 16384}) {
        for (const int causal : {0, 1}) {
          for (const DType dtype : {DType::kFloat16, DType::kBFloat16}) {
            if (l > 4096 && (causal || d == 96 || outlier || dtype == DType::kBFloat16)) continue;
            Case c;
            c.b = 1, c.hq = c.hkv = 4, c.lq = c.lk = l, c.d = d, c.causal = causal, c.dtype = dtype;
            Problem p(c);
            if (outlier) {
              p.fill(9, {1.5f, 1.f}, {1.f, 6.f}, {1.f, 2.f});
            } else {
              p.fill(9, {}, {}, {});
            }
            if (!p.run(kernel)) return;
            const Accuracy a = p.compare(32);
            std::printf(
                "{\"kernel\": \"%s\", \"data\": \"%s\", \"d\": %ld, \"l\": %ld, \"causal\": %d, \"dtype\": \"%s\", "
                "\"cos\": %.6f, \"l1\": %.5f, \"rmse\": %.6f, \"lse_error\": %.6f, \"bad\": %llu}\n",
                kernel.name, outlier ? "outlier" : "randn", d, l, causal, dtype == DType::kFloat16 ? "f16" : "bf16",
                a.dot / std::sqrt(a.out2 * a.ref2), a.error1 / a.ref1, std::sqrt(a.error2 / a.count), a.max_lse_error,
                a.bad);
          }
        }
      }
    }
  }
}

// Time on a stream.
class Stopwatch {
 public:
  explicit Stopwatch(cudaStream_t stream) : stream_(stream) {
    require(cudaEventCreate(&start_), "event");
    require(cudaEventCreate(&end_), "event");
  }
  ~Stopwatch() {
    cudaEventDestroy(start_);
    cudaEventDestroy(end_);
  }
  Stopwatch(const Stopwatch&) = delete;
  void start() { require(cudaEventRecord(start_, stream_), "event"); }
  float stop_us() {
    require(cudaEventRecord(end_, stream_), "event");
    require(cudaEventSynchronize(end_), "event");
    float ms;
    require(cudaEventElapsedTime(&ms, start_, end_), "event");
    return ms * 1000;
  }

 private:
  cudaStream_t stream_;
  cudaEvent_t start_, end_;
};

// Of five bursts with pauses between, in which the clocks recover from what ran before.
float paused_us(cudaGraphExec_t calls, cudaStream_t stream, float count) {
  Stopwatch watch(stream);
  std::vector<float> times;
  for (int i = 0; i < 6; i++) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    watch.start();
    require(cudaGraphLaunch(calls, stream), "graph");
    const float us = watch.stop_us() / count;
    if (i > 0) times.push_back(us);
  }
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  return times[times.size() / 2];
}

// Of a second after two others.
float sustained_us(cudaGraphExec_t calls, cudaStream_t stream, float count) {
  Stopwatch watch(stream);
  float us = 0;
  for (const float seconds : {2.f, 1.f}) {
    const auto start = std::chrono::steady_clock::now();
    int launches = 0;
    watch.start();
    for (; std::chrono::steady_clock::now() - start < std::chrono::duration<float>(seconds); launches++) {
      require(cudaGraphLaunch(calls, stream), "graph");
      if (launches % 4 == 3) require(cudaStreamSynchronize(stream), "graph");
    }
    us = watch.stop_us() / (launches * count);
  }
  return us;
}

// Microseconds of one call: CUDA graphs of calls over rotating inputs that together exceed the L2 cache, so that
// neither host time nor cached inputs count. `measure` is one of the two above.
template <class Measure>
double time_us(const Kernel& kernel, const Case& c, double operations, Measure measure) {
  const int64_t bytes = 4 * c.d * c.b * (c.hq * c.lq + c.hkv * c.lk);
  const int sets = static_cast<int>(std::clamp<int64_t>((200 << 20) / bytes + 1, 1, 24));
  std::vector<Problem*> problems;
  for (int i = 0; i < sets; i++) {
    problems.push_back(new Problem(c));
    problems.back()->fill(3 + i, {}, {}, {});
  }
  const int calls = std::max(sets, static_cast<int>(std::min(1e12 / operations, 50.0)));
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  require(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
  bool ok = true;
  for (Problem* p : problems) ok = ok && p->run(kernel, stream);
  double us = NAN;
  if (ok) {
    require(cudaStreamSynchronize(stream), kernel.name);
    require(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
    for (int i = 0; i < calls; i++) problems[i % sets]->run(kernel, stream);
    require(cudaStreamEndCapture(stream, &graph), "capture");
    require(cudaGraphInstantiate(&executable, graph, 0), "graph");
    us = measure(executable, stream, static_cast<float>(calls));
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
  }
  cudaStreamDestroy(stream);
  for (Problem* p : problems) delete p;
  return us;
}

template <class Measure>
void time_case(const Kernel& kernel, const char* name, Case c, Measure measure) {
  c.lse = false;
  const double operations = 4.0 * c.b * c.hq * c.lq * c.lk * c.d * (c.causal ? 0.5 : 1.0);
  const double us = time_us(kernel, c, operations, measure);
  if (std::isnan(us)) return;
  std::printf(
      "{\"kernel\": \"%s\", \"shape\": \"%s\", \"b\": %ld, \"hq\": %ld, \"hkv\": %ld, \"lq\": %ld, \"lk\": %ld, "
      "\"d\": %ld, \"causal\": %d, \"dtype\": \"%s\", \"us\": %.2f, \"tops\": %.1f}\n",
      kernel.name, name, c.b, c.hq, c.hkv, c.lq, c.lk, c.d, c.causal, c.dtype == DType::kFloat16 ? "f16" : "bf16", us,
      operations / us * 1e-6);
  std::fflush(stdout);
}

struct Shape {
  const char* name;
  int64_t b, hq, hkv, lq, lk, d;
};

void time_grid(const Kernel& kernel, const std::vector<int64_t>& dims, const std::vector<int64_t>& lengths) {
  for (const int64_t l : lengths) {
    for (const int64_t d : dims) {
      for (const int causal : {0, 1}) {
        if (d == 96 && causal) continue;
        Case c;
        c.b = 4, c.hq = c.hkv = 32, c.lq = c.lk = l, c.d = d, c.causal = causal;
        time_case(kernel, "dense", c, paused_us);
      }
    }
  }
}

const std::vector<Shape> kModelShapes = {
    {"sdxl_self4096", 2, 10, 10, 4096, 4096, 64}, {"sdxl_self1024", 2, 20, 20, 1024, 1024, 64},
    {"sdxl_cross77", 2, 10, 10, 4096, 77, 64},    {"flux", 1, 24, 24, 4608, 4608, 128},
    {"sd15_40", 2, 8, 8, 4096, 4096, 40},         {"sd15_80", 2, 8, 8, 1024, 1024, 80},
    {"wan_480p", 1, 12, 12, 32760, 32760, 128},   {"cogvideox", 1, 30, 30, 17776, 17776, 64},
    {"hd96", 2, 16, 16, 4096, 4096, 96},          {"gqa", 1, 32, 8, 8192, 8192, 128},
    {"llm512", 1, 32, 8, 512, 512, 128},          {"sdxl_cross77_1024", 2, 20, 20, 1024, 77, 64}};
const std::vector<Shape> kSustainedShapes = {
    {"dense", 4, 32, 32, 4096, 4096, 128}, {"dense", 4, 32, 32, 16384, 16384, 128},
    {"dense", 4, 32, 32, 4096, 4096, 96},  {"dense", 4, 32, 32, 4096, 4096, 64},
    {"flux", 1, 24, 24, 4608, 4608, 128},  {"sdxl_self4096", 2, 10, 10, 4096, 4096, 64}};

template <class Measure>
void time_shapes(const Kernel& kernel, const std::vector<Shape>& shapes, Measure measure) {
  for (const Shape& s : shapes) {
    Case c;
    c.b = s.b, c.hq = s.hq, c.hkv = s.hkv, c.lq = s.lq, c.lk = s.lk, c.d = s.d;
    time_case(kernel, s.name, c, measure);
  }
}

void sanitize(const Kernel& kernel) {
  for (const int64_t d : {40, 64, 96, 128}) {
    for (const int form : {0, 1, 2}) {  // short; long enough for Hopper to divide items by keys; causal
      const int causal = form == 2 ? 2 : 0;
      Case c;
      c.b = 1, c.hq = 2, c.hkv = 1, c.lq = 150, c.lk = form == 1 ? 1555 : 333, c.d = d, c.causal = causal;
      c.granularity = std::max(kernel.least_granularity, causal);
      c.dtype = d == 64 ? DType::kBFloat16 : DType::kFloat16;
      c.shift = d == 40 ? 1 : 0;
      Problem p(c);
      p.fill(11, {}, {}, {});
      if (!p.run(kernel)) std::exit(2);
      require(cudaDeviceSynchronize(), kernel.name);
    }
  }
}

int hard(const Kernel& kernel) {
  using Kind = HardKernel::Kind;
  const auto run = [&](const AttentionParams& p, const Workspace& w) { return kernel.run(p, w, nullptr); };
  const Kind kind = kernel.name[0] == 'e' ? Kind::kExact : kernel.name[0] == 'i' ? Kind::kInt8 : Kind::kFp8;
  return hard_check({kernel.name, kernel.size, run, kind, kind == Kind::kInt8 ? 64 : 8});
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  int failed = 0;
  for (int i = 2; i < argc; i++) {
    for (const Kernel& kernel : kKernels) {
      if (std::strcmp(kernel.name, argv[i]) != 0) continue;
      if (mode == "hard") failed += hard(kernel);
      if (mode == "check") failed += check_all(kernel, 400);
      if (mode == "accuracy") print_accuracy(kernel);
      if (mode == "time") {
        time_grid(kernel, {128, 64, 96}, {1024, 2048, 4096, 8192, 16384, 32768});
        time_shapes(kernel, kModelShapes, paused_us);
      }
      if (mode == "sustain") time_shapes(kernel, kSustainedShapes, sustained_us);
      if (mode == "probe") time_grid(kernel, {64, 128}, {8192});
      if (mode == "sanitize") sanitize(kernel);
    }
  }
  return failed == 0 ? 0 : 1;
}
