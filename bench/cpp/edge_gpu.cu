// Checks what lies at the edges of the attention functions of libattn4j.so, through their public API, against fp64.
//
//   nvcc -std=c++17 -O3 -arch=native -Isrc/main/cpp/include bench/cpp/edge_gpu.cu -o edge_gpu -L DIR -lattn4j
//   ./edge_gpu nonfinite KERNEL...   NaN and infinities in q, k and v: who sees them, and nobody else, is spoiled
//   ./edge_gpu sanitize KERNEL...    a few of these, for compute-sanitizer
//   ./edge_gpu lse KERNEL...         log-sum-exp, for scores up to 60
//   ./edge_gpu merge KERNEL...       two halves of the keys, put together by their log-sum-exp, against one call
//   ./edge_gpu limits KERNEL...      batch times heads beyond 65,535
// KERNEL: exact, int8_f16, int8_acc16, fp8, fp8_acc16, fp8_sm90, sage, sparse (all blocks, the build's own kernel),
// sparse_int8 (in INT8/16-bit). A kernel may have a head_dim, exact/128: that one alone. The exit status is 0 only if
// all hold.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "accumulators.cuh"
#include "accuracy.cuh"
#include "attn4j/attn4j.h"
#include "attn4j/sparse.h"

namespace {

using namespace attn4j_bench;
using attn4j::Status;
using attn4j::Workspace;

void require(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("FAILED: %s: %s\n", what, cudaGetErrorString(error));
  std::exit(2);
}

template <class T>
T* device_memory(int64_t count) {
  void* p = nullptr;
  require(cudaMalloc(&p, std::max<int64_t>(1, count) * sizeof(T)), "cudaMalloc");
  return static_cast<T*>(p);
}

// ------------------------------------------------------------------------------------------------------------- kernels

// SpargeAttn with the caller's mask, which names every block.
Status run_sparse(const AttentionParams& p, const Workspace& workspace, CUstream_st* stream) noexcept {
  attn4j::BlockGrid grid;
  const Status status = attn4j::spas_block_grid(p, &grid);
  if (status != Status::kOk) return status;
  static uint8_t* mask = nullptr;
  static int64_t size = 0;
  const int64_t bytes = p.q.size[0] * p.q.size[1] * grid.query_blocks * grid.key_blocks;
  if (bytes > size) {
    mask = device_memory<uint8_t>(size = bytes);
    require(cudaMemset(mask, 1, bytes), "memset");
  }
  attn4j::SparsityParams sparsity;
  sparsity.block_mask = mask;
  return attn4j::block_sparse_sage2_attn_cuda(p, sparsity, workspace, stream);
}
int64_t size_sparse(const AttentionParams& p) noexcept {
  attn4j::SparsityParams sparsity;
  sparsity.block_mask = &sparsity;  // only its being there counts
  return attn4j::block_sparse_sage2_attn_cuda_workspace_size(p, sparsity);
}
AttentionParams in_int8(AttentionParams p) {
  p.pv_accum_dtype = attn4j::PvAccumDType::kFp32;
  return p;
}
Status run_sparse_int8(const AttentionParams& p, const Workspace& workspace, CUstream_st* stream) noexcept {
  return run_sparse(in_int8(p), workspace, stream);
}
int64_t size_sparse_int8(const AttentionParams& p) noexcept { return size_sparse(in_int8(p)); }

struct Kernel {
  const char* name;
  Status (*run)(const AttentionParams&, const Workspace&, CUstream_st*) noexcept;
  int64_t (*size)(const AttentionParams&) noexcept;
  double output_bound;          // largest error of an output of N(0, 1) data, as in attn_gpu.cu
  double lse_bound, lse_floor;  // error of an LSE: of scores of deviation 1, with which it grows; and whatever they are
  int max_head_dim;
  int only = 0;  // this head_dim alone, if not 0

  bool takes(int64_t d) const { return d <= max_head_dim && (only == 0 || d == only); }
};
// INT8 steps of N(0, 1) rows move a score by 0.0135 rms (attn_gpu.cu): 6 of it where one key has all the weight. FP8
// rounds that key's probability besides.
constexpr double kScoreLse = 0.08, kRoundedLse = 0.061, kExactLse = 2e-4;
const Kernel kKernels[] = {
    {"exact", attn4j::exact_attn, attn4j::exact_attn_workspace_size, 0.03, 0., kExactLse, 256},
    {"int8_f16", attn4j::sageattn_qk_int8_pv_fp16_cuda, attn4j::sageattn_qk_int8_pv_fp16_cuda_workspace_size, 0.2,
     kScoreLse, 0., 128},
    {"int8_acc16", attn4j_bench::int8_acc16, attn4j_bench::int8_acc16_size, 0.2, kScoreLse, 0., 128},
    {"fp8", attn4j::sageattn_qk_int8_pv_fp8_cuda, attn4j::sageattn_qk_int8_pv_fp8_cuda_workspace_size, 0.4, kScoreLse,
     kRoundedLse, 128},
    {"fp8_acc16", attn4j_bench::fp8_acc16, attn4j_bench::fp8_acc16_size, 0.4, kScoreLse, kRoundedLse, 128},
    {"fp8_sm90", attn4j::sageattn_qk_int8_pv_fp8_cuda_sm90, attn4j::sageattn_qk_int8_pv_fp8_cuda_sm90_workspace_size,
     0.4, kScoreLse, kRoundedLse, 128},
    {"sage", attn4j::sageattn, attn4j::sageattn_workspace_size, 0.4, kScoreLse, kRoundedLse, 128},
    {"sparse", run_sparse, size_sparse, 0.4, kScoreLse, kRoundedLse, 128},
    {"sparse_int8", run_sparse_int8, size_sparse_int8, 0.2, kScoreLse, 0., 128},
};

// ----------------------------------------------------------------------------------------------------------- reference

// Attention as IEEE arithmetic has it, in fp64: o [b][hq][lq][d], lse [b][hq][lq]. A row that sees no key, or whose
// scores are all -inf, is 0. One block of 128 threads per row.
__global__ void __launch_bounds__(128) reference_kernel(AttentionParams p, double* o, double* lse) {
  ATTN4J_DYNAMIC_SHARED(8, double, score);
  __shared__ double reduced[128];
  const int64_t hq = p.q.size[1], lq = p.q.size[2], d = p.q.size[3], hkv = p.k.size[1], lk_all = p.k.size[2];
  const int64_t index = blockIdx.x, row = index % lq, h = index / lq % hq, b = index / lq / hq, g = h / (hq / hkv);
  int64_t lk = p.kv_lengths != nullptr ? static_cast<const int32_t*>(p.kv_lengths)[b] : lk_all;
  if (p.is_causal) {
    const int64_t offset = p.causal_alignment == attn4j::CausalAlignment::kTopLeft ? 0 : lk_all - lq;
    lk = max(int64_t{0}, min(lk, row + offset + 1));
  }
  const auto all = [&](double x, bool is_max) {
    reduced[threadIdx.x] = x;
    __syncthreads();
    double y = reduced[0];
    for (int n = 1; n < 128; n++) y = is_max ? fmax(y, reduced[n]) : y + reduced[n];
    __syncthreads();
    return y;
  };
  double top = -INFINITY;
  for (int64_t j = threadIdx.x; j < lk; j += 128) {
    double s = 0;
    for (int64_t c = 0; c < d; c++) {
      s +=
          load(p.q, element(p.q, p.tensor_layout, b, h, row, c)) * load(p.k, element(p.k, p.tensor_layout, b, g, j, c));
    }
    score[j] = s * (p.has_sm_scale ? p.sm_scale : 1. / sqrt(static_cast<double>(d)));
    top = fmax(top, score[j]);  // a NaN is found in the sum
  }
  top = all(top, true);
  double sum = 0;
  for (int64_t j = threadIdx.x; j < lk; j += 128) {
    score[j] = top == -INFINITY && !isnan(score[j]) ? 0. : exp(score[j] - top);
    sum += score[j];
  }
  sum = all(sum, false);
  for (int64_t c = threadIdx.x; c < d; c += 128) {
    double x = 0;
    for (int64_t j = 0; j < lk; j++) x += score[j] * load(p.v, element(p.v, p.tensor_layout, b, g, j, c));
    o[index * d + c] = sum == 0 ? 0 : x / sum;
  }
  if (threadIdx.x == 0) lse[index] = sum == 0 ? -INFINITY : log(sum) + top;
}

// ------------------------------------------------------------------------------------------------------------- problem

struct Case {
  int64_t b = 2, hq = 4, hkv = 2, lq = 333, lk = 333, d = 64;
  DType dtype = DType::kFloat16;
  int causal = 0;  // 0 none, 1 top-left, 2 bottom-right
  int length = 0;  // of all batch entries; 0: none given
  float q_spread = 1.f, k_spread = 1.f;
  int granularity = 2;
  bool smooth_k = true;
};

struct Result {
  std::vector<double> o, lse;
  std::vector<uint16_t> bits;  // of o
};

class Problem {
 public:
  AttentionParams params;
  Case c;

  explicit Problem(const Case& c_) : c(c_) {
    params.q = tensor(c.hq, c.lq), params.k = tensor(c.hkv, c.lk), params.v = tensor(c.hkv, c.lk);
    params.o = tensor(c.hq, c.lq);
    params.lse = lse_ = device_memory<float>(rows());
    params.is_causal = c.causal != 0;
    params.causal_alignment = c.causal == 2 ? attn4j::CausalAlignment::kBottomRight : attn4j::CausalAlignment::kTopLeft;
    params.qk_quant_gran = static_cast<attn4j::QuantGranularity>(c.granularity);
    params.smooth_k = c.smooth_k;
    if (c.length > 0) {
      const std::vector<int32_t> lengths(c.b, c.length);
      params.kv_lengths = lengths_ = device_memory<int32_t>(c.b);
      require(cudaMemcpy(lengths_, lengths.data(), c.b * 4, cudaMemcpyHostToDevice), "copy");
    }
    launch(fill_kernel, 1024, 256, 0, params.q, params.tensor_layout, Distribution{c.q_spread, 0.f}, 21);
    launch(fill_kernel, 1024, 256, 0, params.k, params.tensor_layout, Distribution{c.k_spread, 0.f}, 22);
    launch(fill_kernel, 1024, 256, 0, params.v, params.tensor_layout, Distribution{}, 23);
    require(cudaDeviceSynchronize(), "fill");
  }
  ~Problem() {
    for (const TensorView* t : {&params.q, &params.k, &params.v, &params.o}) cudaFree(t->data);
    cudaFree(lse_), cudaFree(lengths_);
  }
  Problem(const Problem&) = delete;

  int64_t rows() const { return c.b * c.hq * c.lq; }

  // One channel of rows [first, end) of head `head` of the first batch entry.
  void put(const TensorView& t, int64_t head, int64_t first, int64_t end, int64_t channel, float value) const {
    const uint16_t bits = t.dtype == DType::kFloat16 ? __half_as_ushort(__float2half_rn(value))
                                                     : __bfloat16_as_ushort(__float2bfloat16_rn(value));
    for (int64_t row = first; row < end; row++) {
      uint16_t* at = static_cast<uint16_t*>(t.data) + head * t.stride[1] + row * t.stride[2] + channel;
      require(cudaMemcpy(at, &bits, 2, cudaMemcpyHostToDevice), "copy");
    }
  }

  // Output, LSE and workspace hold NaN before.
  bool run(const Kernel& kernel, Result* result) const {
    const int64_t bytes = kernel.size(params);
    if (bytes < 0) {
      std::printf("%s refused: %s\n", kernel.name, attn4j::last_error());
      return false;
    }
    char* workspace = device_memory<char>(bytes);
    require(cudaMemset(workspace, 0xff, bytes), "memset");
    require(cudaMemset(params.o.data, 0xff, rows() * c.d * 2), "memset");
    require(cudaMemset(params.lse, 0xff, rows() * 4), "memset");
    const Status status = kernel.run(params, {workspace, bytes}, nullptr);
    if (status != Status::kOk) std::printf("%s: %s\n", kernel.name, attn4j::last_error());
    require(cudaDeviceSynchronize(), kernel.name);
    cudaFree(workspace);
    result->bits.resize(rows() * c.d);
    std::vector<float> lse(rows());
    require(cudaMemcpy(result->bits.data(), params.o.data, rows() * c.d * 2, cudaMemcpyDeviceToHost), "copy");
    require(cudaMemcpy(lse.data(), params.lse, rows() * 4, cudaMemcpyDeviceToHost), "copy");
    result->o.clear();
    for (const uint16_t x : result->bits) {
      result->o.push_back(c.dtype == DType::kFloat16 ? static_cast<double>(__half2float(__ushort_as_half(x)))
                                                     : static_cast<double>(__bfloat162float(__ushort_as_bfloat16(x))));
    }
    result->lse.assign(lse.begin(), lse.end());
    return status == Status::kOk;
  }

  Result reference() const {
    double *o = device_memory<double>(rows() * c.d), *lse = device_memory<double>(rows());
    const int bytes = static_cast<int>((c.lk + 1) * sizeof(double));  // scores are read two at a time
    require(cudaFuncSetAttribute(reference_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes), "reference");
    launch(reference_kernel, static_cast<unsigned>(rows()), 128, bytes, params, o, lse);
    Result r;
    r.o.resize(rows() * c.d), r.lse.resize(rows());
    require(cudaMemcpy(r.o.data(), o, rows() * c.d * 8, cudaMemcpyDeviceToHost), "reference");
    require(cudaMemcpy(r.lse.data(), lse, rows() * 8, cudaMemcpyDeviceToHost), "reference");
    cudaFree(o), cudaFree(lse);
    return r;
  }

  void print() const {
    std::printf("b%ld h%ld/%ld lq%ld lk%ld d%ld %s causal%d length%d gran%d smooth%d", c.b, c.hq, c.hkv, c.lq, c.lk,
                c.d, c.dtype == DType::kFloat16 ? "f16" : "bf16", c.causal, c.length, c.granularity, c.smooth_k);
  }

 private:
  TensorView tensor(int64_t heads, int64_t tokens) const {
    TensorView t;
    t.dtype = c.dtype;
    const int64_t sizes[4] = {c.b, heads, tokens, c.d}, strides[4] = {heads * tokens * c.d, tokens * c.d, c.d, 1};
    std::copy(sizes, sizes + 4, t.size);
    std::copy(strides, strides + 4, t.stride);
    t.data = device_memory<uint16_t>(c.b * heads * tokens * c.d);
    return t;
  }

  float* lse_ = nullptr;
  int32_t* lengths_ = nullptr;
};

// ------------------------------------------------------------------------------------------------------ what is
// checked

// Where the reference is finite the output is, and close to it; where it isn't, neither is the output. Heads without
// such a value have the bits that they have without it.
bool check_nonfinite(const Kernel& kernel, const Problem& p, const Result& clean, const char* what) {
  Result got;
  if (!p.run(kernel, &got)) return false;
  const Result expected = p.reference();
  int64_t spread = 0, missing = 0, far = 0, wrong_lse = 0, touched = 0;
  for (size_t i = 0; i < got.o.size(); i++) {
    const bool finite = std::isfinite(expected.o[i]);
    spread += finite && !std::isfinite(got.o[i]);
    missing += !finite && std::isfinite(got.o[i]);
    far += finite && std::isfinite(got.o[i]) && std::fabs(got.o[i] - expected.o[i]) > kernel.output_bound;
  }
  for (size_t i = 0; i < got.lse.size(); i++) {
    const double x = got.lse[i], y = expected.lse[i];
    const double bound = 2 * kernel.lse_bound + kernel.lse_floor;  // rows of few keys
    wrong_lse += std::isfinite(y) ? !(std::fabs(x - y) <= bound) : y == -INFINITY ? x != y : std::isfinite(x);
  }
  for (size_t i = got.bits.size() / p.c.b; i < got.bits.size(); i++) touched += got.bits[i] != clean.bits[i];
  if (spread + missing + far + wrong_lse + touched == 0) return true;
  std::printf("WRONG %s ", kernel.name);
  p.print();
  std::printf(" %s: %ld outputs spoiled, %ld should be, %ld wrong, %ld LSE wrong, %ld of other heads changed\n", what,
              spread, missing, far, wrong_lse, touched);
  return false;
}

int nonfinite(const Kernel& kernel, bool few) {
  struct Place {
    Case shape;
    int64_t first, end;  // rows of k or v
  };
  Case causal, right, length, both, plain, divided, divided_causal, blocks, raw;
  causal.causal = 1;
  right.lq = 130, right.causal = 2;
  length.length = 201;
  both.length = 201, both.causal = 1, both.hq = 8;
  divided.b = 1, divided.hq = divided.hkv = 1, divided.lq = 150, divided.lk = 1555, divided.length = 1501;
  divided_causal = divided, divided_causal.length = 0, divided_causal.causal = 2;
  blocks = causal, blocks.granularity = 0;
  raw = causal, raw.smooth_k = false;
  const Place places[] = {{causal, 332, 333}, {causal, 150, 151}, {right, 250, 251},     {length, 201, 333},
                          {both, 201, 333},   {plain, 100, 101},  {divided, 1501, 1555}, {divided_causal, 1490, 1491},
                          {blocks, 200, 201}, {raw, 332, 333}};
  int passed = 0, failed = 0;
  for (const int64_t d : {64, 96, 128, 160, 256}) {
    if (!kernel.takes(d) || (few && d % 96 != 64)) continue;
    for (const DType dtype : {DType::kFloat16, DType::kBFloat16}) {
      for (const Place& place : places) {
        Case c = place.shape;
        c.d = d, c.dtype = dtype;
        if (few && (&place - places) % 4 != 1) continue;
        if (c.granularity != 2 && std::strcmp(kernel.name, "int8_f16") != 0) continue;
        Result clean;
        if (!Problem(c).run(kernel, &clean)) return failed + 1;
        for (const int tensor : {0, 1, 2}) {
          for (const float value : {NAN, INFINITY, -INFINITY}) {
            if (few && !std::isnan(value)) continue;
            const Problem p(c);
            const char* const names[] = {"q", "k", "v"};
            const std::string what = std::string(names[tensor]) + " has " + std::to_string(value);
            if (tensor == 0) {
              p.put(p.params.q, c.hq - 1, 77, 78, 5, value);
            } else {
              p.put(tensor == 1 ? p.params.k : p.params.v, c.hkv - 1, place.first, place.end, 5, value);
            }
            const bool good = check_nonfinite(kernel, p, clean, what.c_str());
            passed += good, failed += !good;
          }
        }
      }
    }
  }
  std::printf("nonfinite %s: %d passed, %d failed\n", kernel.name, passed, failed);
  return failed;
}

int lse(const Kernel& kernel) {
  int failed = 0;
  for (const int64_t d : {64, 96, 128, 256}) {
    for (const DType dtype : {DType::kFloat16, DType::kBFloat16}) {
      for (const float spread : {0.3f, 1.f, 2.f, 3.9f}) {  // of Q and of K: scores have its square as deviation
        for (const int causal : {0, 1}) {
          Case c;
          c.d = d, c.dtype = dtype, c.causal = causal, c.lq = c.lk = 1000, c.q_spread = c.k_spread = spread;
          if (!kernel.takes(d)) continue;
          const Problem p(c);
          Result got;
          if (!p.run(kernel, &got)) return failed + 1;
          const Result expected = p.reference();
          double worst = 0, mean = 0, top = 0;
          for (size_t i = 0; i < got.lse.size(); i++) {
            const double error = got.lse[i] - expected.lse[i];
            worst = std::max(worst, std::fabs(error)), mean += error / got.lse.size();
            top = std::max(top, expected.lse[i]);
          }
          const double bound = kernel.lse_bound * std::max(1.f, spread * spread) + kernel.lse_floor;
          const bool good = worst <= bound;
          failed += !good;
          std::printf("%s lse %s d%ld %s causal%d, up to %.1f: largest error %.2e (at most %.2e), mean %.1e\n",
                      good ? "ok   " : "WRONG", kernel.name, d, dtype == DType::kFloat16 ? "f16" : "bf16", causal, top,
                      worst, bound, mean);
        }
      }
    }
  }
  return failed;
}

// Relative L1 of `got`.
double l1(const std::vector<double>& got, const std::vector<double>& expected) {
  double error = 0, size = 0;
  for (size_t i = 0; i < got.size(); i++) error += std::fabs(got[i] - expected[i]), size += std::fabs(expected[i]);
  return error / size;
}

int merge(const Kernel& kernel) {
  int failed = 0;
  for (const int64_t d : {64, 96, 128, 256}) {
    for (const DType dtype : {DType::kFloat16, DType::kBFloat16}) {
      for (const float spread : {1.f, 2.f}) {
        if (!kernel.takes(d)) continue;
        Case c;
        c.d = d, c.dtype = dtype, c.lq = 700, c.lk = 1600, c.q_spread = c.k_spread = spread;
        Problem p(c);
        const Result expected = p.reference();
        Result whole, half[2];
        if (!p.run(kernel, &whole)) return failed + 1;
        const TensorView k = p.params.k, v = p.params.v;
        for (int i = 0; i < 2; i++) {
          p.params.k.size[2] = p.params.v.size[2] = c.lk / 2;
          p.params.k.data = static_cast<uint16_t*>(k.data) + i * (c.lk / 2) * c.d;
          p.params.v.data = static_cast<uint16_t*>(v.data) + i * (c.lk / 2) * c.d;
          if (!p.run(kernel, &half[i])) return failed + 1;
        }
        p.params.k = k, p.params.v = v;
        std::vector<double> merged(whole.o.size());
        for (size_t i = 0; i < merged.size(); i++) {
          const double weight = 1. / (1. + std::exp(half[1].lse[i / c.d] - half[0].lse[i / c.d]));
          merged[i] = half[0].o[i] * weight + half[1].o[i] * (1. - weight);
        }
        // Halves are rounded to 16 bits once more, and FP8's V has two scales instead of one.
        const double once = l1(whole.o, expected.o), twice = l1(merged, expected.o);
        const bool good = twice <= 1.1 * once + 1e-5;
        failed += !good;
        std::printf("%s merge %s d%ld %s spread %.0f: L1 %.6f, in one call %.6f\n", good ? "ok   " : "WRONG",
                    kernel.name, d, dtype == DType::kFloat16 ? "f16" : "bf16", spread, twice, once);
      }
    }
  }
  return failed;
}

int limits(const Kernel& kernel) {
  int failed = 0;
  for (const int64_t d : {40, 80, 128, 160}) {
    for (const int64_t batch : {9216, 700000}) {  // AnimateDiff's temporal attention: 16 frames, a row for each pixel
      // The quantised kernels pad each head to a tile.
      if (!kernel.takes(d) || (batch > 9216 && (d != 40 || std::strcmp(kernel.name, "exact") != 0))) continue;
      Case c;
      c.b = batch, c.hq = c.hkv = 8, c.lq = c.lk = batch > 9216 ? 1 : d == 40 ? 16 : 5, c.d = d;
      const Problem p(c);
      Result got;
      if (!p.run(kernel, &got)) {
        failed++;
        continue;
      }
      const Result expected = p.reference();
      double worst = 0, worst_lse = 0;
      for (size_t i = 0; i < got.o.size(); i++) {
        const double error = std::fabs(got.o[i] - expected.o[i]);
        worst = error <= worst ? worst : error;  // a NaN is worse than all
      }
      for (size_t i = 0; i < got.lse.size(); i++) {
        const double error = std::fabs(got.lse[i] - expected.lse[i]);
        worst_lse = error <= worst_lse ? worst_lse : error;
      }
      // Few keys average nothing out, and there are millions of rows.
      const bool good = worst <= 2 * kernel.output_bound && worst_lse <= 2 * kernel.lse_bound + kernel.lse_floor;
      failed += !good;
      std::printf("%s limits %s %ld batch times heads, d%ld: largest error %.4f, of the LSE %.4f\n",
                  good ? "ok   " : "WRONG", kernel.name, c.b * c.hq, d, worst, worst_lse);
    }
  }
  return failed;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  int failed = 0, ran = 0;
  setvbuf(stdout, nullptr, _IOLBF, 0);
  for (int i = 2; i < argc; i++) {
    const std::string name = argv[i];
    const size_t slash = name.find('/');
    for (Kernel kernel : kKernels) {
      if (name.substr(0, slash) != kernel.name) continue;
      kernel.only = slash == std::string::npos ? 0 : std::atoi(name.c_str() + slash + 1);
      ran++;
      if (mode == "nonfinite" || mode == "sanitize") failed += nonfinite(kernel, mode == "sanitize");
      if (mode == "lse") failed += lse(kernel);
      if (mode == "merge") failed += merge(kernel);
      if (mode == "limits") failed += limits(kernel);
    }
  }
  return failed == 0 && ran > 0 ? 0 : 1;
}
