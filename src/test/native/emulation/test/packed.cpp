#include "test/packed.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <vector>

#include "attn4j/plan.h"
#include "runtime/settings.h"

namespace emulation_test {
namespace {

using attn4j::Status;
using attn4j::TensorView;

constexpr uint16_t kUnwritten = 0x1234;
constexpr float kUnwrittenLse = 12345.f;

class Packed {
 public:
  explicit Packed(uint32_t seed) : random_(seed) {
    bf16_ = one_in(2), nhd_ = one_in(2), d_ = of({64, 64, 61, 40}), hkv_ = 1 + upto(1), hq_ = hkv_ * (1 + upto(2));
    causal_ = upto(2), shift_ = one_in(5) ? 4 : 0;
    const int64_t count = of({0, 1, 2, 5, 33, 70}), longest = count > 10 ? 20 : 300;
    q_offsets_ = offsets(count, longest), k_offsets_ = offsets(count, longest);
    total_q_ = q_offsets_.back() + of({0, 0, 3}), total_k_ = k_offsets_.back() + of({0, 0, 3});
    make_params();
  }
  ~Packed() {
    for (void* p : memory_) cudaFree(p);
  }
  Packed(const Packed&) = delete;

  // Null: it holds.
  const char* check() {
    attn4j::PlanRequest request;
    request.function = attn4j::AttentionFunction::kExactAttn;
    request.attention = params_;
    attn4j::PlanHandle plan;
    attn4j::PlanFacts facts;
    if (attn4j::plan_attention(request, &plan, &facts) != Status::kOk) {
      return facts.refusal == attn4j::RefusalReason::kNotBuilt ? "" : attn4j::last_error();
    }
    attn4j::PlanAddresses a;
    a.q = params_.q.data, a.k = params_.k.data, a.v = params_.v.data, a.o = params_.o.data, a.lse = params_.lse;
    a.cu_seqlens_q = params_.packed.cu_seqlens_q, a.cu_seqlens_k = params_.packed.cu_seqlens_k;
    a.workspace = {allocate(facts.workspace_size), facts.workspace_size};
    if (attn4j::run_plan(plan, a, nullptr) != Status::kOk) return attn4j::last_error();
    std::vector<bool> written(static_cast<size_t>(total_q_), false);
    for (size_t s = 0; s + 1 < q_offsets_.size(); s++) {
      for (int64_t row = q_offsets_[s]; row < q_offsets_[s + 1]; row++) {
        written[static_cast<size_t>(row)] = true;
        for (int64_t head = 0; head < hq_; head++) {
          if (!row_holds(head, row, s)) return "a row is wrong";
        }
      }
    }
    for (int64_t row = 0; row < total_q_; row++) {
      for (int64_t head = 0; head < hq_ && !written[static_cast<size_t>(row)]; head++) {
        if (at(params_.o, head, row)[0] != kUnwritten || lse()[head * total_q_ + row] != kUnwrittenLse) {
          return "a row of no sequence was written";
        }
      }
    }
    return nullptr;
  }

 private:
  int64_t upto(int64_t most) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(most + 1)); }
  bool one_in(int64_t n) { return upto(n - 1) == 0; }
  int64_t of(std::initializer_list<int64_t> values) {
    return *(values.begin() + upto(static_cast<int64_t>(values.size()) - 1));
  }
  std::vector<int32_t> offsets(int64_t count, int64_t longest) {
    std::vector<int32_t> at{0};
    for (int64_t i = 0; i < count; i++) at.push_back(at.back() + static_cast<int32_t>(one_in(4) ? 0 : upto(longest)));
    return at;
  }
  void* allocate(int64_t bytes) {
    void* p = nullptr;
    if (cudaMalloc(&p, static_cast<size_t>(std::max<int64_t>(bytes, 1))) != cudaSuccess) std::abort();
    memory_.push_back(p);
    return p;
  }
  uint16_t bits(float x) const {
    return bf16_ ? static_cast<__nv_bfloat16_raw>(__float2bfloat16_rn(x)).x
                 : static_cast<__half_raw>(__float2half_rn(x)).x;
  }
  double number(uint16_t x) const {
    return bf16_ ? __bfloat162float(__nv_bfloat16(__nv_bfloat16_raw{x})) : __half2float(__half(__half_raw{x}));
  }

  TensorView tensor(int64_t heads, int64_t rows) {
    TensorView t;
    t.dtype = bf16_ ? attn4j::DType::kBFloat16 : attn4j::DType::kFloat16;
    const int64_t pitch = d_ + shift_, sizes[4] = {1, nhd_ ? rows : heads, nhd_ ? heads : rows, d_};
    std::copy(sizes, sizes + 4, t.size);
    t.stride[3] = 1, t.stride[2] = pitch, t.stride[1] = std::max<int64_t>(1, sizes[2]) * pitch;
    t.stride[0] = heads * rows * pitch;
    t.data = static_cast<uint16_t*>(allocate((heads * rows * pitch + shift_) * 2)) + shift_;
    std::normal_distribution<float> normal;
    for (int64_t head = 0; head < heads; head++) {
      for (int64_t row = 0; row < rows; row++) {
        for (int64_t e = 0; e < d_; e++) at(t, head, row)[e] = bits(normal(random_));
      }
    }
    return t;
  }
  uint16_t* at(const TensorView& t, int64_t head, int64_t row) const {
    return static_cast<uint16_t*>(t.data) + head * t.stride[nhd_ ? 2 : 1] + row * t.stride[nhd_ ? 1 : 2];
  }
  float* lse() const { return static_cast<float*>(params_.lse); }
  const void* on_device(const std::vector<int32_t>& x) {
    auto* p = static_cast<int32_t*>(allocate(static_cast<int64_t>(x.size()) * 4));
    std::copy(x.begin(), x.end(), p);
    return p;
  }

  void make_params() {
    params_.tensor_layout = nhd_ ? attn4j::TensorLayout::kNHD : attn4j::TensorLayout::kHND;
    params_.q = tensor(hq_, total_q_), params_.k = tensor(hkv_, total_k_), params_.v = tensor(hkv_, total_k_);
    params_.o = tensor(hq_, total_q_);
    params_.lse = allocate(hq_ * total_q_ * 4);
    std::fill(lse(), lse() + hq_ * total_q_, kUnwrittenLse);
    for (int64_t head = 0; head < hq_; head++) {
      for (int64_t row = 0; row < total_q_; row++) at(params_.o, head, row)[0] = kUnwritten;
    }
    params_.is_causal = causal_ != 0;
    params_.causal_alignment = causal_ == 2 ? attn4j::CausalAlignment::kBottomRight : attn4j::CausalAlignment::kTopLeft;
    params_.packed.cu_seqlens_q = on_device(q_offsets_), params_.packed.cu_seqlens_k = on_device(k_offsets_);
    params_.packed.count = static_cast<int64_t>(q_offsets_.size()) - 1;
    params_.packed.max_seqlen_q = total_q_, params_.packed.max_seqlen_k = total_k_;
  }

  // Against fp64. Probabilities, values and outputs are rounded to the type.
  bool row_holds(int64_t head, int64_t row, size_t sequence) const {
    const int64_t first = k_offsets_[sequence], length = k_offsets_[sequence + 1] - first;
    const int64_t own = row - q_offsets_[sequence], queries = q_offsets_[sequence + 1] - q_offsets_[sequence];
    const int64_t limit = causal_ == 0 ? length : own + 1 + (causal_ == 2 ? length - queries : 0);
    const int64_t keys = std::max<int64_t>(0, std::min(length, limit)), kv_head = head / (hq_ / hkv_);
    std::vector<double> scores, sum(static_cast<size_t>(d_), 0.), size(static_cast<size_t>(d_), 0.);
    double top = -std::numeric_limits<double>::infinity(), total = 0;
    for (int64_t j = 0; j < keys; j++) {
      double s = 0;
      for (int64_t e = 0; e < d_; e++)
        s += number(at(params_.q, head, row)[e]) * number(at(params_.k, kv_head, first + j)[e]);
      scores.push_back(s / std::sqrt(static_cast<double>(d_)));
      top = std::max(top, scores.back());
    }
    for (int64_t j = 0; j < keys; j++) {
      const double p = std::exp(scores[static_cast<size_t>(j)] - top);
      total += p;
      for (int64_t e = 0; e < d_; e++) {
        const double v = number(at(params_.v, kv_head, first + j)[e]);
        sum[static_cast<size_t>(e)] += p * v, size[static_cast<size_t>(e)] += p * std::fabs(v);
      }
    }
    const double half = bf16_ ? 0x1p-8 : 0x1p-11, found_lse = lse()[head * total_q_ + row];
    for (int64_t e = 0; e < d_; e++) {
      const double found = number(at(params_.o, head, row)[e]), x = keys == 0 ? 0 : sum[static_cast<size_t>(e)] / total;
      const double allowed = keys == 0 ? 0 : 2.2 * half * size[static_cast<size_t>(e)] / total + 1e-6;
      if (!(std::fabs(found - x) <= allowed)) return false;
    }
    return keys == 0 ? found_lse == -INFINITY : std::fabs(found_lse - top - std::log(total)) < 1e-4;
  }

  std::mt19937_64 random_;
  bool bf16_ = false, nhd_ = false;
  int64_t d_ = 64, hq_ = 1, hkv_ = 1, causal_ = 0, shift_ = 0, total_q_ = 0, total_k_ = 0;
  std::vector<int32_t> q_offsets_, k_offsets_;
  std::vector<void*> memory_;
  attn4j::AttentionParams params_;
};

}  // namespace

int packed(int argc, char** argv) {
  const int count = argc > 2 ? std::atoi(argv[2]) : 0, first = argc > 3 ? std::atoi(argv[3]) : 1;
  int held = 0, not_built = 0, wrong = 0;
  for (int seed = first; seed < first + count; seed++) {
    emulation::settings().seed = static_cast<uint64_t>(seed % 3 == 0 ? 0 : seed);
    const char* const failure = Packed(static_cast<uint32_t>(seed)).check();
    held += failure == nullptr, not_built += failure != nullptr && failure[0] == '\0';
    if (failure != nullptr && failure[0] != '\0') wrong++, std::printf("WRONG packed, seed %d: %s\n", seed, failure);
  }
  std::printf("packed sequences: %d cases hold, %d not built, %d wrong\n", held, not_built, wrong);
  return wrong == 0 && held > 0 ? 0 : 1;
}

}  // namespace emulation_test
