// Checks and times the exact Hopper kernel by itself, without Java and without the rest of the library.
//
//   nvcc -std=c++17 -O3 -gencode=arch=compute_90a,code=sm_90a -DATTN4J_SM=90 -Isrc/main/cpp -Isrc/main/cpp/include \
//        bench/cpp/exact_check.cu -o exact_check
//   ./exact_check check         every semantic against an fp64 reference; exit status 0 only if all hold
//   ./exact_check repeat        one shape 200 times, compared bit for bit
//   ./exact_check time          microseconds and TFLOPS of the grid of docs/exact.md
//   ./exact_check sanitize      a few small shapes, for compute-sanitizer
//   ./exact_check profile VARIANT B HQ HKV LQ LK D CAUSAL     three launches, for a profiler
//   ./exact_check host          host time of one launch call
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "exact_reference.cuh"
#include "exact_variants.cuh"

namespace {

using attn4j::AttentionArgs;
using attn4j::DType;
using attn4j::Strides;

void require(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("FAILED: %s: %s\n", what, cudaGetErrorString(error));
  std::exit(2);
}

// ------------------------------------------------------------------------------------------------------------- shapes

enum class Layout {
  kHnd,
  kNhd,
  kSliced,
  kSharedHeads
};  // kSliced: rows of wider tensors; kSharedHeads: kv head stride 0

struct Case {
  int batch, heads_q, heads_kv, lq, lk, d;
  int causal = 0;  // 0 none, 1 top-left, 2 bottom-right
  Layout layout = Layout::kHnd;
  std::vector<int> kv_lengths;
  float scale = NAN;  // NAN: 1 / sqrt(d)
};

struct Tensor {
  std::vector<int> size;  // batch, head, row, channel
  Strides stride;
  int64_t offset = 64, elements = 0;  // elements before the tensor and of the whole buffer
  uint16_t* memory = nullptr;

  Tensor(int b, int h, int l, int d, Layout layout) : size{b, h, l, d} {
    const int64_t pad = layout == Layout::kSliced ? 24 : 0, row = d + pad;
    const int64_t aligned = (row + 7) / 8 * 8;
    if (layout == Layout::kNhd) {
      stride = {int64_t{1} * l * h * aligned, aligned, h * aligned};
    } else {
      stride = {h * (l + (pad ? 3 : 0)) * aligned, (l + (pad ? 3 : 0)) * aligned, aligned};
    }
    if (layout == Layout::kSharedHeads) stride = {int64_t{1} * l * aligned, 0, aligned};
    elements = offset + std::max<int64_t>(1, b) * std::max(stride.batch, int64_t{h} * stride.head) + 64 +
               int64_t{std::max(l, 1)} * stride.row;
    require(cudaMalloc(&memory, elements * 2), "cudaMalloc");
  }
  ~Tensor() { cudaFree(memory); }
  Tensor(const Tensor&) = delete;
  uint16_t* data() const { return memory + offset; }
  exact_check::View view() const { return {data(), stride, size[0], size[1], size[2], size[3]}; }
};

AttentionArgs make_args(const Case& c, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& o) {
  AttentionArgs a;
  a.q = q.data(), a.k = k.data(), a.v = v.data(), a.o = o.data();
  a.q_stride = q.stride, a.k_stride = k.stride, a.v_stride = v.stride, a.o_stride = o.stride;
  a.batch = c.batch, a.heads_q = c.heads_q, a.heads_kv = c.heads_kv, a.group = c.heads_q / c.heads_kv;
  a.lq = c.lq, a.lk = c.lk, a.head_dim = c.d;
  a.causal_offset = c.causal == 0 ? attn4j::kNotCausal : c.causal == 1 ? 0 : c.lk - c.lq;
  const float scale = std::isnan(c.scale) ? 1.f / std::sqrt(static_cast<float>(c.d)) : c.scale;
  a.scale_log2 = std::fabs(scale) * 1.4426950408889634f;
  a.q_sign = scale < 0.f ? -1.f : 1.f;
  return a;
}

std::vector<Case> check_cases() {
  std::vector<Case> cases = {
      {1, 1, 1, 1, 1, 128},
      {1, 1, 1, 1, 77, 64},
      {2, 3, 3, 77, 0, 64},                                     // no key at all
      {2, 4, 2, 130, 257, 128, 0, Layout::kHnd, {257, 0}},      // one entry without keys
      {3, 2, 1, 200, 300, 64, 0, Layout::kNhd, {1, 127, 300}},  // ragged, garbage behind
      {3, 2, 2, 129, 513, 96, 1, Layout::kNhd, {130, 511, 512}},
      {2, 2, 2, 300, 200, 128, 2},  // rows without keys
      {2, 2, 2, 513, 100, 64, 2, Layout::kSliced},
      {1, 2, 2, 300, 900, 128, 2},
      {1, 2, 2, 300, 900, 128, 1},
      {2, 8, 1, 200, 300, 128, 0, Layout::kNhd, {}, -0.1f},  // negative scale
      {1, 2, 2, 200, 300, 64, 1, Layout::kHnd, {}, -0.3f},
      {1, 2, 2, 100, 200, 128, 0, Layout::kHnd, {}, 0.f},  // mean of V
      {1, 2, 2, 100, 200, 64, 1, Layout::kHnd, {150}, 0.f},
      {1, 2, 2, 100, 200, 128, 0, Layout::kHnd, {}, 3.f},  // almost one-hot
      {1, 2, 2, 100, 200, 128, 0, Layout::kHnd, {}, 1e6f},
      {2, 4, 4, 256, 300, 64, 0, Layout::kSharedHeads},
      {1, 140, 140, 256, 64, 64},      // more heads than SMs
      {2, 40, 10, 700, 700, 128, 1},   // causal, longest first
      {2, 80, 20, 1100, 1100, 64, 1},  // causal, pairs, odd number of blocks
      {2, 100, 100, 1024, 200, 128, 1},
      {1, 3, 3, 4097, 129, 72},
      {2, 4, 2, 130, 257, 160, 0, Layout::kHnd, {257, 0}},
      {3, 2, 2, 129, 513, 192, 1, Layout::kNhd, {130, 511, 512}},
      {1, 2, 2, 300, 900, 256, 2},
      {2, 80, 20, 1100, 1100, 160, 1},
      {2, 100, 100, 1024, 200, 256, 1},
      {1, 140, 140, 256, 64, 192},
      {2, 3, 3, 77, 0, 256},
      {1, 2, 2, 200, 300, 160, 1, Layout::kSliced, {}, -0.3f},
      {1, 2, 2, 200, 300, 256, 0, Layout::kHnd, {}, -0.1f},
  };
  const int dims[] = {8, 16, 40, 64, 72, 80, 96, 104, 112, 120, 128, 136, 160, 176, 192, 200, 256};
  const int lengths[] = {1, 7, 16, 63, 64, 65, 127, 128, 129, 160, 176, 191, 192, 193, 352, 385, 1000};
  const int groups[] = {1, 1, 4, 8};
  uint64_t seed = 20261123;
  const auto pick = [&seed](int n) {
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<int>((seed >> 33) % n);
  };
  for (int i = 0; i < 102; i++) {
    Case c{};
    c.d = dims[i % 17];
    c.heads_kv = 1 + pick(3), c.heads_q = c.heads_kv * groups[pick(4)], c.batch = 1 + pick(3);
    c.lq = lengths[pick(17)], c.lk = lengths[pick(17)];
    c.causal = pick(3), c.layout = static_cast<Layout>(pick(3)), c.scale = NAN;
    if (pick(3) == 0) {
      for (int b = 0; b < c.batch; b++) c.kv_lengths.push_back(pick(c.lk + 1));
    }
    cases.push_back(c);
  }
  return cases;
}

// ------------------------------------------------------------------------------------------------------------- checks

class Problem {
 public:
  Problem(const Case& c, DType dtype, uint64_t seed)
      : case_(c),
        dtype_(dtype),
        q_(c.batch, c.heads_q, c.lq, c.d, c.layout == Layout::kSharedHeads ? Layout::kHnd : c.layout),
        k_(c.batch, c.heads_kv, c.lk, c.d, c.layout),
        v_(c.batch, c.heads_kv, c.lk, c.d, c.layout),
        o_(c.batch, c.heads_q, c.lq, c.d, c.layout == Layout::kSharedHeads ? Layout::kHnd : c.layout) {
    if (!c.kv_lengths.empty()) {
      require(cudaMalloc(&kv_lengths_, c.batch * 4), "cudaMalloc");
      require(cudaMemcpy(kv_lengths_, c.kv_lengths.data(), c.batch * 4, cudaMemcpyHostToDevice), "copy");
    }
    rows_ = int64_t{1} * c.batch * c.heads_q * c.lq;
    require(cudaMalloc(&lse_, (rows_ + 2) * 4), "cudaMalloc");
    // NaN everywhere that is no input: in gaps, around, and in rows behind kv_lengths.
    for (const Tensor* t : {&q_, &k_, &v_}) {
      require(cudaMemset(t->memory, 0xff, t->elements * 2), "memset");
      const bool key = t != &q_;
      exact_check::fill_normal(t->view(), dtype, key ? kv_lengths_ : nullptr, seed += 977);
    }
    args_ = make_args(c, q_, k_, v_, o_);
    args_.lse = lse_ + 1, args_.kv_lengths = kv_lengths_;
    poison();
  }
  ~Problem() { cudaFree(lse_), cudaFree(kv_lengths_), cudaFree(before_); }

  void poison() {
    require(cudaMemset(o_.memory, 0x5a, o_.elements * 2), "memset");
    require(cudaMemset(lse_, 0x5a, (rows_ + 2) * 4), "memset");
  }
  const AttentionArgs& args() const { return args_; }
  exact_check::Report compare() const {
    return exact_check::compare(args_, dtype_, {o_.memory, o_.elements, o_.view(), lse_, rows_ + 2});
  }
  // Remembers the outputs, or compares them with the remembered ones bit for bit.
  bool same_as_before() {
    const int64_t o_words = o_.elements / 2, words = o_words + rows_;
    const bool first = before_ == nullptr;
    if (first) require(cudaMalloc(&before_, words * 4 + 4), "cudaMalloc");
    if (first) require(cudaMemcpy(before_, o_.memory, o_words * 4, cudaMemcpyDeviceToDevice), "copy");
    if (first) require(cudaMemcpy(before_ + o_words, lse_ + 1, rows_ * 4, cudaMemcpyDeviceToDevice), "copy");
    int* different = reinterpret_cast<int*>(before_ + words);
    require(cudaMemset(different, 0, 4), "memset");
    exact_check::difference_kernel<<<512, 256>>>(reinterpret_cast<uint32_t*>(o_.memory), before_, o_words, different);
    exact_check::difference_kernel<<<64, 256>>>(reinterpret_cast<uint32_t*>(lse_ + 1), before_ + o_words, rows_,
                                                different);
    int host = 0;
    require(cudaMemcpy(&host, different, 4, cudaMemcpyDeviceToHost), "copy");
    return host == 0;
  }

 private:
  Case case_;
  DType dtype_;
  Tensor q_, k_, v_, o_;
  int32_t* kv_lengths_ = nullptr;
  float* lse_ = nullptr;
  uint32_t* before_ = nullptr;
  int64_t rows_ = 0;
  AttentionArgs args_;
};

// Every variant serves smaller head dims by padding; 128 is also checked where 96 would be chosen.
bool fits(const Variant& v, int d) {
  const int less = v.head_dim == 256 ? 192 : v.head_dim == 192 ? 160 : v.head_dim == 160 ? 128 : 64;
  return d <= v.head_dim && d > (v.head_dim == 64 ? 0 : less);
}

int check(const std::vector<Case>& cases, bool quiet) {
  int failures = 0, runs = 0;
  for (const Variant& v : variants()) {
    double worst = 0.;
    for (size_t i = 0; i < cases.size(); i++) {
      const Case& c = cases[i];
      if (!fits(v, c.d)) continue;
      Problem p(c, v.dtype, i + 1);
      require(v.launch(p.args(), nullptr), v.name);
      require(cudaDeviceSynchronize(), v.name);
      const exact_check::Report r = p.compare();
      runs++;
      worst = std::max(worst, r.worst);
      if (r.wrong_outputs != 0 || r.wrong_lse != 0 || r.overwritten != 0) {
        failures++;
        if (failures < 40) {
          std::printf(
              "  WRONG %s b%d h%d/%d lq%d lk%d d%d causal%d layout%d scale%g varlen%d: outputs %lld lse %lld outside "
              "%lld worst %.3g\n",
              v.name, c.batch, c.heads_q, c.heads_kv, c.lq, c.lk, c.d, c.causal, static_cast<int>(c.layout), c.scale,
              static_cast<int>(c.kv_lengths.size()), r.wrong_outputs, r.wrong_lse, r.overwritten, r.worst);
        }
      }
    }
    if (!quiet) std::printf("check %-28s worst error / bound %.3f\n", v.name, worst);
  }
  std::printf("check: %d runs, %d failures\n", runs, failures);
  return failures;
}

int repeat(int times) {
  int failures = 0;
  for (const Variant& v : variants()) {
    for (int causal = 0; causal < 2; causal++) {
      Problem p({2, 24, 8, 1000, 1337, v.head_dim, causal, Layout::kNhd, {1337, 801}}, v.dtype, 5);
      int different = 0;
      for (int i = 0; i < times; i++) {
        p.poison();
        require(v.launch(p.args(), nullptr), v.name);
        different += !p.same_as_before();
      }
      failures += different;
      std::printf("repeat %-28s causal %d: %d of %d differ\n", v.name, causal, different, times - 1);
    }
  }
  return failures;
}

// ------------------------------------------------------------------------------------------------------------- timing

struct TimedShape {
  const char* name;
  Case shape;
};

// Launches over rotating inputs, together larger than L2, captured into a graph: microseconds per launch, median.
double time_variant(const Variant& v, const Case& c) {
  const int64_t bytes = 2ll * c.d * c.batch * (2ll * c.heads_q * c.lq + 2ll * c.heads_kv * c.lk);
  const int sets = static_cast<int>(std::max<int64_t>(2, std::min<int64_t>(24, (200ll << 20) / bytes + 1)));
  std::vector<Tensor*> tensors;
  std::vector<AttentionArgs> args;
  for (int i = 0; i < sets; i++) {
    Tensor* t[4];
    for (int n = 0; n < 4; n++) {
      const bool key = n == 1 || n == 2;
      t[n] = new Tensor(c.batch, key ? c.heads_kv : c.heads_q, key ? c.lk : c.lq, c.d, c.layout);
      exact_check::fill_normal(t[n]->view(), v.dtype, nullptr, 31 * i + n);
      tensors.push_back(t[n]);
    }
    args.push_back(make_args(c, *t[0], *t[1], *t[2], *t[3]));
  }
  const double flops = 4. * c.batch * c.heads_q * c.lq * c.lk * c.d;
  const int launches = flops > 3e12 ? 1 : flops > 2e11 ? 2 * sets : 3 * sets;
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  require(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "stream");
  require(v.launch(args[0], stream), v.name);
  require(cudaStreamSynchronize(stream), v.name);
  require(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  for (int i = 0; i < launches; i++) require(v.launch(args[i % sets], stream), v.name);
  require(cudaStreamEndCapture(stream, &graph), "capture");
  require(cudaGraphInstantiate(&exec, graph, 0), "instantiate");
  cudaEvent_t start, end;
  cudaEventCreate(&start), cudaEventCreate(&end);
  std::vector<float> times;
  for (int i = 0; i < 6; i++) {
    cudaEventRecord(start, stream);
    require(cudaGraphLaunch(exec, stream), "launch");
    cudaEventRecord(end, stream);
    require(cudaStreamSynchronize(stream), v.name);
    float ms = 0.f;
    cudaEventElapsedTime(&ms, start, end);
    if (i > 0) times.push_back(ms * 1000.f / launches);
  }
  std::sort(times.begin(), times.end());
  cudaEventDestroy(start), cudaEventDestroy(end), cudaGraphExecDestroy(exec), cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
  for (Tensor* t : tensors) delete t;
  return times[times.size() / 2];
}

std::vector<TimedShape> timed_shapes() {
  std::vector<TimedShape> shapes;
  for (int d : {128, 64, 96, 160, 192, 256}) {
    for (int causal : {0, 1}) {
      for (int l : {1024, 4096, 8192, 16384}) {
        if ((d == 96 && causal == 1) || (d % 64 != 0 && l == 16384) || (d > 128 && l > 4096)) continue;
        shapes.push_back({"grid", {d > 128 ? 2 : 4, 32, 32, l, l, d, causal}});
      }
    }
  }
  shapes.push_back({"sdxl_self4096", {2, 10, 10, 4096, 4096, 64, 0, Layout::kNhd}});
  shapes.push_back({"sdxl_self1024", {2, 20, 20, 1024, 1024, 64, 0, Layout::kNhd}});
  shapes.push_back({"sdxl_cross77", {2, 10, 10, 4096, 77, 64, 0, Layout::kNhd}});
  shapes.push_back({"flux", {1, 24, 24, 4608, 4608, 128, 0, Layout::kNhd}});
  shapes.push_back({"sd15_40", {2, 8, 8, 4096, 4096, 40, 0, Layout::kNhd}});
  shapes.push_back({"sd15_80", {2, 8, 8, 1024, 1024, 80, 0, Layout::kNhd}});
  shapes.push_back({"hd96", {2, 16, 16, 4096, 4096, 96, 0, Layout::kNhd}});
  shapes.push_back({"gqa", {1, 32, 8, 8192, 8192, 128, 0, Layout::kNhd}});
  shapes.push_back({"llm512", {1, 32, 8, 512, 512, 128, 0, Layout::kNhd}});
  for (int l : {4096, 1024, 256}) shapes.push_back({"sd15_160", {2, 8, 8, l, l, 160, 0, Layout::kNhd}});
  shapes.push_back({"sd15_cross77", {2, 8, 8, 1024, 77, 160, 0, Layout::kNhd}});
  shapes.push_back({"llm512_causal", {1, 32, 8, 512, 512, 128, 1, Layout::kNhd}});
  return shapes;
}

void time_all() {
  for (const TimedShape& s : timed_shapes()) {
    for (const Variant& v : variants()) {
      if (!fits(v, s.shape.d)) continue;
      const double us = time_variant(v, s.shape);
      const Case& c = s.shape;
      const double flops = 4. * c.batch * c.heads_q * c.lq * c.lk * c.d * (c.causal ? 0.5 : 1.);
      std::printf("time %-14s d%-3d causal%d lq%-5d lk%-5d %-28s %9.1f us %7.1f TFLOPS\n", s.name, c.d, c.causal, c.lq,
                  c.lk, v.name, us, flops / us * 1e-6);
      std::fflush(stdout);
    }
  }
}

// Host time of one launch call, tensor maps included.
void time_host() {
  for (const Variant& v : variants()) {
    Problem p({1, 1, 1, 64, 64, v.head_dim}, v.dtype, 3);
    require(v.launch(p.args(), nullptr), v.name);
    require(cudaDeviceSynchronize(), v.name);
    cudaEvent_t start, end;
    cudaEventCreate(&start), cudaEventCreate(&end);
    timespec a, b;
    double best = 1e9;
    for (int round = 0; round < 20; round++) {
      clock_gettime(CLOCK_MONOTONIC, &a);
      for (int i = 0; i < 50; i++) v.launch(p.args(), nullptr);
      clock_gettime(CLOCK_MONOTONIC, &b);
      require(cudaDeviceSynchronize(), v.name);
      best = std::min(best, ((b.tv_sec - a.tv_sec) * 1e6 + (b.tv_nsec - a.tv_nsec) * 1e-3) / 50);
    }
    std::printf("host %-28s %.2f us per launch call\n", v.name, best);
  }
}

int profile(char** argv) {
  const auto number = [argv](int i) { return std::atoi(argv[i]); };
  const Case c{number(3), number(4), number(5), number(6), number(7), number(8), number(9), Layout::kNhd};
  for (const Variant& v : variants()) {
    if (std::string(v.name) != argv[2]) continue;
    Problem p(c, v.dtype, 1);
    for (int i = 0; i < 3; i++) require(v.launch(p.args(), nullptr), v.name);
    require(cudaDeviceSynchronize(), v.name);
    return 0;
  }
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "check";
  if (what == "check") return check(check_cases(), false) == 0 ? 0 : 1;
  if (what == "repeat") return repeat(argc > 2 ? std::atoi(argv[2]) : 200) == 0 ? 0 : 1;
  if (what == "sanitize") {
    return check({{2, 4, 2, 130, 257, 128, 1, Layout::kNhd, {257, 0}},
                  {1, 2, 2, 70, 200, 64, 0, Layout::kSliced, {131}, -0.2f},
                  {1, 2, 2, 70, 200, 72, 2, Layout::kHnd},
                  {1, 2, 1, 200, 200, 160, 1, Layout::kHnd},
                  {1, 2, 1, 70, 250, 192, 0, Layout::kNhd, {131}},
                  {1, 2, 1, 200, 250, 256, 2, Layout::kNhd, {131}}},
                 true) == 0
               ? 0
               : 1;
  }
  if (what == "time")
    time_all();
  else if (what == "host")
    time_host();
  else if (what == "profile" && argc == 10)
    return profile(argv);
  else
    return 2;
  return 0;
}
