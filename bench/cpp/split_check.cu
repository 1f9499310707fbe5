// Checks the kernels for few queries (attention/split/exact.cuh) by themselves, every tile with keys split in several
// ways, without Java and without the rest of the library. bench/decode_results.py times them through the library.
//
//   nvcc -std=c++17 -O3 -gencode=arch=compute_90a,code=sm_90a -DATTN4J_SM=90 -Isrc/main/cpp -Isrc/main/cpp/include \
//        bench/cpp/split_check.cu src/main/cpp/host/machine.cpp -o split_check
//   ./split_check check [N]     N seeded random shapes and the known corners against fp64; exit status 0 only if all
//   hold
//   ./split_check hidden        infinities and NaN that some rows see and some don't
//   ./split_check repeat        200 runs, compared bit for bit, and the log-sum-exp to 2e-4 of fp64 at scores up to 60
//   ./split_check sanitize      a few small shapes, for compute-sanitizer
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "attention/split/exact.cuh"
#include "exact_reference.cuh"

namespace {

using attn4j::AttentionArgs;
using attn4j::DType;
using attn4j::ExactSplit;
using attn4j::SplitMachine;
using attn4j::SplitPlan;
using attn4j::SplitPlanner;
using attn4j::SplitProblem;
using attn4j::SplitRecipe;
using attn4j::SplitTiles;
using attn4j::Strides;

void require(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("FAILED: %s: %s\n", what, cudaGetErrorString(error));
  std::exit(2);
}

// ------------------------------------------------------------------------------------------------------------ variants

const char* const kAuto = "auto";  // as ExactSplit plans it

// A tile, or kAuto.
struct Variant {
  const char* tile;
  int head_dim;
  DType dtype;
  cudaError_t (*launch)(const AttentionArgs&, int splits, cudaStream_t);
  int64_t (*partial_floats)(const AttentionArgs&, int splits);
};

const SplitMachine kMachine = SplitMachine::of(132, 1.);

template <int kD, DType T, int kShape>
cudaError_t launch_tile(const AttentionArgs& args, int splits, cudaStream_t stream) {
  using Kernel = ExactSplit<kD, T>;
  const SplitProblem p = SplitPlanner<kD>::problem(SplitRecipe<kD>::request(args), SplitTiles<kD>::kShapes[kShape]);
  return Kernel::launch_plan(args, SplitPlan::of(p, splits, kMachine), stream);
}

template <int kD>
int64_t tile_floats(const AttentionArgs& a, int splits) {
  return int64_t{1} * splits * a.batch * a.heads_q * a.lq * (kD + 2);
}

template <int kD, DType T>
Variant planned() {
  using Kernel = ExactSplit<kD, T>;
  return {kAuto, kD, T, [](const AttentionArgs& a, int, cudaStream_t s) { return Kernel::launch(a, s); },
          [](const AttentionArgs& a, int) { return SplitPlanner<kD>::most_partials(SplitRecipe<kD>::request(a)) / 4; }};
}

template <int kD, DType T>
void add_variants(std::vector<Variant>& list) {
  list.push_back(planned<kD, T>());
  list.push_back({"few", kD, T, &launch_tile<kD, T, 0>, &tile_floats<kD>});
  list.push_back({"pair", kD, T, &launch_tile<kD, T, 1>, &tile_floats<kD>});
  list.push_back({"some", kD, T, &launch_tile<kD, T, 2>, &tile_floats<kD>});
  if (kD <= 128) list.push_back({"many", kD, T, &launch_tile<kD, T, 3>, &tile_floats<kD>});
}

const std::vector<Variant>& variants() {
  static const std::vector<Variant> list = [] {
    std::vector<Variant> v;
    add_variants<64, DType::kFloat16>(v), add_variants<64, DType::kBFloat16>(v);
    add_variants<96, DType::kFloat16>(v), add_variants<96, DType::kBFloat16>(v);
    add_variants<128, DType::kFloat16>(v), add_variants<128, DType::kBFloat16>(v);
    add_variants<192, DType::kFloat16>(v), add_variants<192, DType::kBFloat16>(v);
    add_variants<256, DType::kFloat16>(v), add_variants<256, DType::kBFloat16>(v);
    return v;
  }();
  return list;
}

bool fits(const Variant& v, int d) {
  const int least = v.head_dim == 64    ? 0
                    : v.head_dim == 96  ? 64
                    : v.head_dim == 128 ? 96
                    : v.head_dim == 192 ? 128
                                        : 192;
  return d <= v.head_dim && d > least;
}

// -------------------------------------------------------------------------------------------------------------- shapes

enum class Layout { kHnd, kNhd, kSliced };  // kSliced: rows of wider tensors

struct Case {
  int batch, heads_q, heads_kv, lq, lk, d;
  int causal = 0;  // 0 none, 1 top-left, 2 bottom-right
  Layout layout = Layout::kHnd;
  std::vector<int> kv_lengths;
  float scale = NAN;   // NAN: 1 / sqrt(d)
  int odd_output = 0;  // elements that the output is shifted by: no 16-byte stores
};

struct Tensor {
  int batch, heads, rows, channels;
  Strides stride;
  int64_t offset = 64, elements = 0;
  uint16_t* memory = nullptr;

  Tensor(int b, int h, int l, int d, Layout layout, int odd = 0) : batch(b), heads(h), rows(l), channels(d) {
    const int64_t pad = layout == Layout::kSliced ? 24 : 0, row = (d + pad + 7) / 8 * 8 + odd;
    const int64_t length = l + (pad ? 3 : 0);
    stride = layout == Layout::kNhd ? Strides{l * h * row, row, h * row} : Strides{h * length * row, length * row, row};
    offset += odd;
    elements = offset + std::max<int64_t>(1, b) * std::max<int64_t>(stride.batch, h * stride.head) + 64;
    require(cudaMalloc(&memory, elements * 2), "cudaMalloc");
  }
  ~Tensor() { cudaFree(memory); }
  Tensor(const Tensor&) = delete;
  uint16_t* data() const { return memory + offset; }
  exact_check::View view() const { return {data(), stride, batch, heads, rows, channels}; }
};

class Problem {
 public:
  Problem(const Case& c, DType dtype, uint64_t seed)
      : case_(c),
        dtype_(dtype),
        q_(c.batch, c.heads_q, c.lq, c.d, c.layout),
        k_(c.batch, c.heads_kv, c.lk, c.d, c.layout),
        v_(c.batch, c.heads_kv, c.lk, c.d, c.layout),
        o_(c.batch, c.heads_q, c.lq, c.d, c.layout, c.odd_output) {
    if (!c.kv_lengths.empty()) {
      require(cudaMalloc(&kv_lengths_, c.batch * 4), "cudaMalloc");
      require(cudaMemcpy(kv_lengths_, c.kv_lengths.data(), c.batch * 4, cudaMemcpyHostToDevice), "copy");
    }
    rows_ = int64_t{1} * c.batch * c.heads_q * c.lq;
    require(cudaMalloc(&lse_, (rows_ + 2) * 4), "cudaMalloc");
    // NaN everywhere that is no input: in gaps, around, and in rows behind kv_lengths. Channels up to the next multiple
    // of 8 are zeros, as the library promises its kernels.
    for (const Tensor* t : {&q_, &k_, &v_}) {
      require(cudaMemset(t->memory, 0xff, t->elements * 2), "memset");
      const int32_t* lengths = t == &q_ ? nullptr : kv_lengths_;
      exact_check::View view = t->view();
      exact_check::fill_normal(view, dtype, lengths, seed += 977);
      zero_padding(view);
    }
    AttentionArgs& a = args_;
    a.q = q_.data(), a.k = k_.data(), a.v = v_.data(), a.o = o_.data();
    a.q_stride = q_.stride, a.k_stride = k_.stride, a.v_stride = v_.stride, a.o_stride = o_.stride;
    a.batch = c.batch, a.heads_q = c.heads_q, a.heads_kv = c.heads_kv, a.group = c.heads_q / c.heads_kv;
    a.lq = c.lq, a.lk = c.lk, a.head_dim = c.d;
    a.causal_offset = c.causal == 0 ? attn4j::kNotCausal : c.causal == 1 ? 0 : c.lk - c.lq;
    const float scale = std::isnan(c.scale) ? 1.f / std::sqrt(static_cast<float>(c.d)) : c.scale;
    a.scale_log2 = std::fabs(scale) * 1.4426950408889634f, a.q_sign = scale < 0.f ? -1.f : 1.f;
    a.vector_io = c.odd_output == 0 && c.d % 8 == 0;
    a.lse = lse_ + 1, a.kv_lengths = kv_lengths_;
    poison();
  }
  ~Problem() { cudaFree(lse_), cudaFree(kv_lengths_), cudaFree(before_), cudaFree(partials_); }

  // Outputs and workspace.
  void poison() {
    require(cudaMemset(o_.memory, 0x5a, o_.elements * 2), "memset");
    require(cudaMemset(lse_, 0x5a, (rows_ + 2) * 4), "memset");
    if (partials_ != nullptr) require(cudaMemset(partials_, 0xff, (partial_floats_ + 64) * 4), "memset");
  }
  // False: the kernel wrote behind its workspace.
  bool run(const Variant& v, int splits) {
    const int64_t most = v.partial_floats(args_, splits);
    if (most > partial_floats_ || partials_ == nullptr) {
      cudaFree(partials_);
      require(cudaMalloc(&partials_, (most + 64) * 4), "cudaMalloc");
      partial_floats_ = most;
      poison();
    }
    args_.partials = partials_;
    require(v.launch(args_, splits, nullptr), v.tile);
    require(cudaDeviceSynchronize(), v.tile);
    uint32_t guard[64];
    require(cudaMemcpy(guard, partials_ + partial_floats_, sizeof guard, cudaMemcpyDeviceToHost), "copy");
    return std::all_of(guard, guard + 64, [](uint32_t x) { return x == 0xffffffffu; });
  }
  exact_check::Report compare() const {
    return exact_check::compare(args_, dtype_, {o_.memory, o_.elements, o_.view(), lse_, rows_ + 2});
  }
  // Writes `bits` into a channel of a key's row.
  void plant(bool value, int batch, int head, int key, int channel, uint16_t bits) {
    const Tensor& t = value ? v_ : k_;
    uint16_t* at = t.data() + batch * t.stride.batch + head * t.stride.head + key * t.stride.row + channel;
    require(cudaMemcpy(at, &bits, 2, cudaMemcpyHostToDevice), "copy");
  }
  // Remembers the outputs, or compares them with the remembered ones bit for bit.
  bool same_as_before() {
    const int64_t o_words = o_.elements / 2, words = o_words + rows_;
    if (before_ == nullptr) {
      require(cudaMalloc(&before_, words * 4 + 4), "cudaMalloc");
      require(cudaMemcpy(before_, o_.memory, o_words * 4, cudaMemcpyDeviceToDevice), "copy");
      require(cudaMemcpy(before_ + o_words, lse_ + 1, rows_ * 4, cudaMemcpyDeviceToDevice), "copy");
    }
    int* different = reinterpret_cast<int*>(before_ + words);
    require(cudaMemset(different, 0, 4), "memset");
    const uint32_t* lse = reinterpret_cast<uint32_t*>(lse_ + 1);
    exact_check::difference_kernel<<<512, 256>>>(reinterpret_cast<uint32_t*>(o_.memory), before_, o_words, different);
    exact_check::difference_kernel<<<64, 256>>>(lse, before_ + o_words, rows_, different);
    int host = 0;
    require(cudaMemcpy(&host, different, 4, cudaMemcpyDeviceToHost), "copy");
    return host == 0;
  }

 private:
  static void zero_padding(exact_check::View view) {
    exact_check::View pad = view;
    pad.data += view.channels, pad.channels = (view.channels + 7) / 8 * 8 - view.channels;
    if (pad.channels == 0) return;
    for (int b = 0; b < view.batch; b++) {
      for (int h = 0; h < view.heads; h++) {
        require(cudaMemset2D(pad.data + b * view.stride.batch + h * view.stride.head, view.stride.row * 2, 0,
                             pad.channels * 2, view.rows),
                "memset");
      }
    }
  }

  Case case_;
  DType dtype_;
  Tensor q_, k_, v_, o_;
  int32_t* kv_lengths_ = nullptr;
  float *lse_ = nullptr, *partials_ = nullptr;
  int64_t partial_floats_ = 0, rows_ = 0;
  uint32_t* before_ = nullptr;
  AttentionArgs args_;
};

std::vector<Case> check_cases(int random) {
  std::vector<Case> cases = {
      {1, 1, 1, 1, 1, 128},
      {1, 4, 1, 1, 4097, 128},
      {2, 32, 8, 1, 1337, 128},
      {1, 3, 3, 5, 0, 64},                                         // no key at all
      {2, 8, 2, 3, 257, 128, 0, Layout::kHnd, {257, 0}},           // one entry without keys
      {4, 8, 2, 1, 4000, 64, 0, Layout::kNhd, {1, 15, 3999, 64}},  // parts without keys, garbage behind
      {3, 2, 2, 9, 513, 96, 1, Layout::kNhd, {130, 511, 512}},
      {2, 4, 2, 100, 60, 128, 2},  // rows without keys
      {2, 6, 2, 77, 1000, 64, 2, Layout::kSliced},
      {1, 40, 8, 4, 2500, 80, 0, Layout::kNhd, {}, -0.1f},  // negative scale
      {1, 8, 2, 8, 700, 64, 2, Layout::kHnd, {}, -0.3f},
      {1, 2, 2, 10, 1200, 128, 0, Layout::kHnd, {}, 0.f},  // mean of V
      {1, 2, 2, 10, 1200, 64, 1, Layout::kHnd, {5}, 0.f},
      {1, 2, 2, 10, 1200, 128, 0, Layout::kHnd, {}, 3.f},  // almost one-hot
      {1, 2, 2, 10, 1200, 128, 0, Layout::kHnd, {}, 1e6f},
      {1, 12, 4, 7, 1200, 72, 0, Layout::kHnd, {}, NAN, 3},  // scalar stores
      {1, 71, 1, 1, 3000, 64},                               // multi-query
      {300, 2, 1, 2, 50, 64},                                // more heads than slots
  };
  const int dims[] = {1, 8, 13, 40, 64, 72, 96, 100, 128, 128, 136, 160, 192, 200, 256};
  const int queries[] = {1, 1, 1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 33, 64, 65, 100, 128, 130};
  const int keys[] = {1, 7, 15, 16, 17, 63, 64, 65, 127, 129, 385, 1000, 1023, 2048, 2500, 5000};
  const int groups[] = {1, 1, 2, 4, 5, 8, 16, 33};
  uint64_t seed = 20261130;
  const auto pick = [&seed](int n) {
    seed = seed * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<int>((seed >> 33) % n);
  };
  for (int i = 0; i < random; i++) {
    Case c{};
    c.d = dims[pick(15)];
    c.heads_kv = 1 + pick(3), c.heads_q = c.heads_kv * groups[pick(8)], c.batch = 1 + pick(3);
    c.lq = queries[pick(18)], c.lk = keys[pick(16)];
    c.causal = pick(3), c.layout = static_cast<Layout>(pick(3)), c.scale = NAN;
    c.odd_output = pick(5) == 0 ? 1 + pick(7) : 0;
    if (pick(3) == 0) {
      for (int b = 0; b < c.batch; b++) c.kv_lengths.push_back(pick(c.lk + 1));
    }
    cases.push_back(c);
  }
  return cases;
}

void describe(const Variant& v, const Case& c, int splits) {
  std::printf("%s/d%d/%s splits%d b%d h%d/%d lq%d lk%d d%d causal%d layout%d scale%g varlen%d odd%d", v.tile,
              v.head_dim, v.dtype == DType::kFloat16 ? "f16" : "bf16", splits, c.batch, c.heads_q, c.heads_kv, c.lq,
              c.lk, c.d, c.causal, static_cast<int>(c.layout), c.scale, static_cast<int>(c.kv_lengths.size()),
              c.odd_output);
}

// -------------------------------------------------------------------------------------------------------------- checks

bool report(const Variant& v, const Case& c, int splits, bool in_bounds, const exact_check::Report& r) {
  if (in_bounds && r.wrong_outputs == 0 && r.wrong_lse == 0 && r.overwritten == 0) return true;
  std::printf("  WRONG ");
  describe(v, c, splits);
  std::printf(": outputs %lld lse %lld outside %lld worst %.3g%s\n", r.wrong_outputs, r.wrong_lse, r.overwritten,
              r.worst, in_bounds ? "" : ", behind the workspace");
  return false;
}

int check(const std::vector<Case>& cases, bool quiet) {
  int failures = 0, runs = 0;
  for (const Variant& v : variants()) {
    double worst = 0.;
    for (size_t i = 0; i < cases.size(); i++) {
      const Case& c = cases[i];
      if (!fits(v, c.d)) continue;
      Problem p(c, v.dtype, i + 1);
      for (const int splits : {1, 2, 7, 40}) {
        if (v.tile == kAuto && splits > 1) break;
        if (splits == 40 && i % 4 != 0) continue;
        p.poison();
        const bool in_bounds = p.run(v, splits);
        const exact_check::Report r = p.compare();
        runs++;
        worst = std::max(worst, r.worst);
        failures += !report(v, c, splits, in_bounds, r);
      }
    }
    if (!quiet) {
      std::printf("check %s/d%d/%s worst error / bound %.3f\n", v.tile, v.head_dim,
                  v.dtype == DType::kFloat16 ? "f16" : "bf16", worst);
    }
  }
  std::printf("check: %d runs, %d failures\n", runs, failures);
  return failures;
}

// Infinities and NaN in keys and values that only some rows see: the others must not notice.
int hidden() {
  int failures = 0, runs = 0;
  for (const Variant& v : variants()) {
    const uint16_t infinity = v.dtype == DType::kFloat16 ? 0x7c00 : 0x7f80, nan = infinity + 1;
    for (const int causal : {1, 2}) {
      const Case c{2, 8, 4, 40, 130, v.head_dim, causal};
      const int last = causal == 1 ? 39 : 129;  // key that only the last query sees
      Problem p(c, v.dtype, 7);
      p.plant(true, 0, 0, last, 3, nan);
      p.plant(true, 0, 1, last - 5, v.head_dim - 1, infinity);
      p.plant(true, 0, 1, last - 3, v.head_dim - 2, infinity + 0x8000);
      p.plant(true, 1, 0, last, 0, infinity);
      p.plant(true, 1, 0, last - 20, 0, infinity + 0x8000);
      p.plant(false, 1, 2, last - 1, 5, nan);
      p.plant(false, 1, 3, last, 6, infinity);
      // One key whose score is plus or minus infinity: NaN either way.
      const Case alone{1, 4, 2, 20, 1, v.head_dim};
      Problem only(alone, v.dtype, 8);
      only.plant(false, 0, 0, 0, 0, infinity);
      for (const int splits : {1, 2, 5}) {
        for (Problem* problem : {&p, &only}) {
          problem->poison();
          const bool in_bounds = problem->run(v, splits);
          const exact_check::Report r = problem->compare();
          runs++;
          failures += !report(v, problem == &p ? c : alone, splits, in_bounds, r);
        }
      }
    }
  }
  std::printf("hidden: %d runs, %d failures\n", runs, failures);
  return failures;
}

int repeat(int times) {
  int failures = 0;
  for (const Variant& v : variants()) {
    for (const int causal : {0, 2}) {
      // Scores up to about 60: scale 60 / (4.5 sqrt(d)).
      const float scale = 13.f / std::sqrt(static_cast<float>(v.head_dim));
      const Case c{2, 24, 8, 5, 3337, v.head_dim, causal, Layout::kNhd, {3337, 1801}, scale};
      Problem p(c, v.dtype, 5);
      int different = 0;
      for (int i = 0; i < times; i++) {
        p.poison();
        p.run(v, 1);
        different += !p.same_as_before();
      }
      const exact_check::Report r = p.compare();
      failures += different + !report(v, c, 1, true, r);
      std::printf("repeat %s/d%d/%s causal %d: %d of %d differ\n", v.tile, v.head_dim,
                  v.dtype == DType::kFloat16 ? "f16" : "bf16", causal, different, times - 1);
    }
  }
  return failures;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "check";
  const int number = argc > 2 ? std::atoi(argv[2]) : 0;
  if (what == "check") return check(check_cases(number > 0 ? number : 120), false) == 0 ? 0 : 1;
  if (what == "hidden") return hidden() == 0 ? 0 : 1;
  if (what == "repeat") return repeat(number > 0 ? number : 200) == 0 ? 0 : 1;
  if (what == "sanitize") {
    return check({{2, 8, 2, 1, 257, 128, 0, Layout::kNhd, {257, 0}},
                  {1, 4, 2, 20, 100, 64, 2, Layout::kSliced, {}, -0.2f},
                  {1, 4, 2, 20, 100, 96, 1},
                  {1, 2, 2, 3, 70, 160, 2, Layout::kHnd, {}, NAN, 1},
                  {1, 2, 2, 3, 70, 256, 0}},
                 true) == 0
               ? 0
               : 1;
  }
  return 2;
}
