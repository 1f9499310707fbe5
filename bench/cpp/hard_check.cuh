// Runs a kernel on hard data and holds it to what fp64 and a model of its rounding allow: attn_gpu hard, sparse_gpu
// hard.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "hard_data.cuh"
#include "hard_reference.cuh"

namespace attn4j_bench {

struct HardKernel {
  std::string name;
  std::function<int64_t(const AttentionParams&)> size;
  std::function<attn4j::Status(const AttentionParams&, const attn4j::Workspace&)> run;
  enum class Kind { kExact, kInt8, kFp8 } kind;
  int key_group;  // Rounding::key_group
};

struct HardCase {
  const char* data_name;
  HardData data;
  int64_t hq, hkv, lq, lk, d;
  DType dtype;
  int causal = 0;       // 0 none, 1 top-left, 2 bottom-right
  int64_t length = -1;  // kv_lengths, if not negative
};

inline Rounding rounding_of(const HardKernel& kernel, DType dtype) {
  Rounding r;
  const bool fp8 = kernel.kind == HardKernel::Kind::kFp8;
  r.int8_scores = kernel.kind != HardKernel::Kind::kExact, r.key_group = kernel.key_group;
  // A number rounded to m bits after the leading one is off by 2^-(m+1) at most, and by 0.42 of that on average over a
  // binade, root mean square 2^-(m+1) * 0.43 .. 0.5: e4m3, with 3 bits, 2.64 % (docs/accuracy.md).
  const double half = dtype == DType::kFloat16 ? 0x1p-12 : 0x1p-9;
  r.p = fp8 ? 0.0264 : half, r.v = fp8 ? 0.0264 : 0;
  r.v_floor = fp8 ? 0x1p-10 / 448 : 0;  // half a step of e4m3's smallest numbers
  return r;
}

class HardMemory {
 public:
  ~HardMemory() {
    for (void* p : all_) cudaFree(p);
  }
  template <class T>
  T* get(int64_t count, int fill = 0xFF) {
    void* p = nullptr;
    const int64_t bytes = std::max<int64_t>(count, 1) * static_cast<int64_t>(sizeof(T));
    if (cudaMalloc(&p, bytes) != cudaSuccess || cudaMemset(p, fill, bytes) != cudaSuccess) {
      std::printf("FAILED: cudaMalloc of %ld bytes\n", bytes);
      std::exit(2);
    }
    all_.push_back(p);
    return static_cast<T*>(p);
  }

 private:
  std::vector<void*> all_;
};

// Rows of every head to compare: with a causal mask half of them among the last 200, which alone see heavy keys at the
// end, the others in the second half; else spread over all.
inline std::vector<int64_t> hard_rows(const HardCase& c, int count) {
  std::vector<int64_t> rows;
  for (int i = 0; i < count; i++) {
    const int64_t head = i % c.hq, n = i / c.hq, all = (count + c.hq - 1) / c.hq;
    int64_t row = n * c.lq / all;
    if (c.causal != 0) {
      const int64_t last = std::min<int64_t>(200, c.lq);
      row = n % 2 == 0 ? c.lq - 1 - n * last / all : c.lq / 2 + n * (c.lq - c.lq / 2) / all;
    }
    rows.push_back(head * c.lq + std::min(row, c.lq - 1));
  }
  rows.back() = (c.hq - 1) * c.lq + std::min(c.data.special_row, c.lq - 1);
  return rows;
}

struct HardResult {
  double l1 = 0, model = 0, bias = 0, chance = 0;  // chance: what the model lets the bias be, standard deviation
  double lse = 0, lse_bound = 0;                   // the worst row, and what it may be
  int64_t wrong = 0, compared = 0;
};

inline HardResult hard_result(const std::vector<HardRow>& rows, const HardKernel& kernel) {
  HardResult r;
  double error = 0, ref = 0, model = 0, chance = 0, worst = -1;
  for (const HardRow& row : rows) {
    error += row.error1, ref += row.ref1, model += row.model1, r.bias += row.bias;
    chance += row.model1 * row.model1 * M_PI / 2;
    r.wrong += row.wrong, r.compared += row.compared;
    // Six standard deviations; a row of few keys has no distribution: e4m3's largest error, ln(17/16), covers it. The
    // sum itself is in fp32, and bf16 probabilities are rounded before they are summed where a kernel does so.
    const double bound = kernel.kind == HardKernel::Kind::kFp8 ? 6 * row.lse_model + 0.061 : 6 * row.lse_model + 2e-4;
    if (row.lse_error / bound > worst) worst = row.lse_error / bound, r.lse = row.lse_error, r.lse_bound = bound;
  }
  if (ref == 0) ref = 1;
  r.l1 = error / ref, r.model = model / ref, r.bias /= ref, r.chance = std::sqrt(chance) / ref;
  return r;
}

// The bars. Of the model: 15 % more, and what the FP8 accumulator's truncation costs. Of the project, where it has
// promised a figure.
inline double hard_l1_bar(const HardKernel& kernel, const HardCase& c, const HardResult& r) {
  const bool fp8 = kernel.kind == HardKernel::Kind::kFp8;
  double bar = 1.15 * r.model + (fp8 ? 0.0012 : 1e-4);
  if (!fp8) return bar;
  if (c.data.kind == Hard::kTail) bar = std::min(bar, 0.025);
  if (c.data.kind == Hard::kConstant) bar = std::min(bar, 0.0012);
  return bar;
}

inline double hard_bias_bar(const HardKernel& kernel, const HardResult& r) {
  const double own = kernel.kind == HardKernel::Kind::kFp8    ? 0.003
                     : kernel.kind == HardKernel::Kind::kInt8 ? 0.001
                                                              : 2e-4;
  return own + 4 * r.chance;
}

// One case. True if it holds. Kernels that refuse a shape are left out.
inline bool hard_case(const HardKernel& kernel, const HardCase& c) {
  HardMemory memory;
  AttentionParams p;
  const auto tensor = [&](int64_t heads, int64_t rows) {
    TensorView t;
    t.dtype = c.dtype;
    const int64_t sizes[4] = {1, heads, rows, c.d}, strides[4] = {heads * rows * c.d, rows * c.d, c.d, 1};
    std::copy(sizes, sizes + 4, t.size);
    std::copy(strides, strides + 4, t.stride);
    t.data = memory.get<uint16_t>(heads * rows * c.d);
    return t;
  };
  p.q = tensor(c.hq, c.lq), p.k = tensor(c.hkv, c.lk), p.v = tensor(c.hkv, c.lk), p.o = tensor(c.hq, c.lq);
  p.lse = memory.get<float>(c.hq * c.lq);
  p.is_causal = c.causal != 0;
  p.causal_alignment = c.causal == 2 ? attn4j::CausalAlignment::kBottomRight : attn4j::CausalAlignment::kTopLeft;
  const int64_t valid = c.length >= 0 ? c.length : c.lk;
  if (c.length >= 0) {
    const int32_t length = static_cast<int32_t>(c.length);
    int32_t* lengths = memory.get<int32_t>(1);
    cudaMemcpy(lengths, &length, 4, cudaMemcpyHostToDevice);
    p.kv_lengths = lengths;
  }
  const TensorView tensors[3] = {p.q, p.k, p.v};
  for (int i = 0; i < 3; i++) launch(hard_fill, 2048, 256, 0, tensors[i], i, c.data, 20261130 + 7 * c.d + c.lk);
  const int64_t bytes = kernel.size(p);
  if (bytes < 0) {
    std::printf("left out: %s\n", attn4j::last_error());
    return true;
  }
  if (kernel.run(p, {memory.get<char>(bytes), bytes}) != attn4j::Status::kOk) {
    std::printf("FAILED: %s: %s\n", kernel.name.c_str(), attn4j::last_error());
    return false;
  }
  const Rounding rounding = rounding_of(kernel, c.dtype);
  auto* channels = memory.get<ChannelStatistics>(c.hkv * c.d, 0);
  auto* sizes = memory.get<float2>(c.hkv * c.lk);
  auto* steps = memory.get<float>(c.hkv * c.lk);
  launch(channel_statistics, dim3(c.hkv, 128), c.d, 0, p, valid, channels);
  launch(key_sizes, (c.hkv * c.lk + 127) / 128, 128, 0, p, valid, channels, sizes);
  launch(key_steps, (c.hkv * c.lk + 127) / 128, 128, 0, sizes, c.lk, c.hkv * c.lk, kernel.key_group, steps);
  const std::vector<int64_t> rows = hard_rows(c, std::min<int64_t>(c.lk > 100000 ? 256 : 512, c.hq * c.lq));
  const auto count = static_cast<int64_t>(rows.size());
  auto* device_rows = memory.get<int64_t>(count);
  auto* device_result = memory.get<HardRow>(count, 0);
  cudaMemcpy(device_rows, rows.data(), count * 8, cudaMemcpyHostToDevice);
  launch(hard_reference, static_cast<unsigned>(count), kHardThreads, 0, p, valid, rounding, device_rows, channels,
         sizes, steps, memory.get<double>(count * c.lk), memory.get<float>(count * c.lk), device_result);
  std::vector<HardRow> result(count);
  const cudaError_t error = cudaMemcpy(result.data(), device_result, count * sizeof(HardRow), cudaMemcpyDeviceToHost);
  if (error != cudaSuccess) {
    std::printf("FAILED: %s %s: %s\n", kernel.name.c_str(), c.data_name, cudaGetErrorString(error));
    std::exit(2);
  }
  const HardResult r = hard_result(result, kernel);
  const double bar = hard_l1_bar(kernel, c, r), bias_bar = hard_bias_bar(kernel, r);
  const bool ok = r.wrong == 0 && r.l1 <= bar && std::fabs(r.bias) <= bias_bar && r.lse <= r.lse_bound;
  std::printf(
      "{\"kernel\": \"%s\", \"data\": \"%s\", \"place\": \"%s\", \"share\": %g, \"hq\": %ld, \"hkv\": %ld, \"lq\": "
      "%ld, \"lk\": %ld, \"d\": %ld, \"causal\": %d, \"dtype\": \"%s\", \"l1\": %.5f, \"l1_bar\": %.5f, \"model\": "
      "%.5f, \"bias\": %.5f, \"bias_bar\": %.5f, \"lse\": %.5f, \"lse_bar\": %.5f, \"wrong\": %ld, \"ok\": %s}\n",
      kernel.name.c_str(), c.data_name, kPlaceNames[static_cast<int>(c.data.place)], c.data.share, c.hq, c.hkv, c.lq,
      c.lk, c.d, c.causal, c.dtype == DType::kFloat16 ? "f16" : "bf16", r.l1, bar, r.model, r.bias, bias_bar, r.lse,
      r.lse_bound, r.wrong, ok ? "true" : "false");
  return ok;
}

inline std::vector<HardCase> hard_cases() {
  std::vector<HardCase> cases;
  int turn = 0;  // both types in turn
  const auto add = [&](const char* name, HardData data, int64_t lq, int64_t lk, int64_t d, int causal,
                       int64_t length = -1) {
    const int64_t hkv = turn % 3 == 0 ? 2 : 1;
    const DType dtype = turn++ % 2 == 0 ? DType::kFloat16 : DType::kBFloat16;
    cases.push_back({name, data, 2, hkv, lq, lk, d, dtype, causal, length});
  };
  const auto of = [](Hard kind, Place place = Place::kLast, float share = 0.f) {
    HardData data;
    data.kind = kind, data.place = place, data.share = share;
    return data;
  };
  constexpr Place kPlaces[] = {Place::kFirst, Place::kMiddle, Place::kLast, Place::kScattered};
  for (const int64_t d : {64, 96, 128}) {
    for (const Place place : kPlaces) {
      for (const int64_t n : {32768, 99904}) {
        for (const int causal : {0, 1}) {
          add("tail", of(Hard::kTail, place), causal ? n : 1024, n, d, causal);
        }
      }
    }
    for (const int64_t n : {4096, 32768, 131072}) {
      for (const float share : {0.3f, 0.6f, 0.9f}) {
        for (const Place place : kPlaces) add("sinks", of(Hard::kSinks, place, share), 512, n, d, 0);
      }
    }
    for (const float share : {0.6f, 0.9f}) {
      for (const Place place : {Place::kFirst, Place::kLast}) {
        add("small sinks", of(Hard::kSmallSinks, place, share), 512, 8192, d, 0);
      }
    }
    const std::pair<const char*, Hard> others[] = {
        {"normal", Hard::kNormal},    {"drift", Hard::kDrift},     {"constant", Hard::kConstant},
        {"one sign", Hard::kOneSign}, {"outlier", Hard::kOutlier}, {"huge value", Hard::kHugeValue},
        {"huge key", Hard::kHugeKey},
    };
    for (const auto& other : others) {
      for (const int causal : {0, 1}) add(other.first, of(other.second), 4096, 4096, d, causal);
    }
  }
  // What is not finite reaches the rows that see it, and no others.
  const std::pair<const char*, Hard> specials[] = {{"special key", Hard::kSpecialKey},
                                                   {"special value", Hard::kSpecialValue},
                                                   {"special query", Hard::kSpecialQuery}};
  for (const auto& special : specials) {
    for (const float value : {NAN, INFINITY, -INFINITY}) {
      for (const int64_t row : {2047, 1000, 3}) {
        for (const int causal : {0, 1, 2}) {
          HardData data = of(special.second);
          data.special = value, data.special_row = row;
          if (causal == 0 && row != 2047) continue;
          const bool query = special.second == Hard::kSpecialQuery;
          add(special.first, data, causal == 2 ? 1500 : 2048, 2048,
              turn % 2   ? 64
              : turn % 5 ? 128
                         : 96,
              causal,
              !query && causal == 0 ? 2047 : -1);  // hidden by the length
        }
      }
    }
  }
  for (const int64_t d : {64, 96, 128}) {
    HardData data;
    data.poisoned_from = 1111;
    for (const int causal : {0, 1, 2}) add("NaN behind kv_lengths", data, 1500, 2048, d, causal, 1111);
    add(
        "NaN everywhere",
        [&] {
          data.poisoned_from = 0;
          return data;
        }(),
        300, 500, d, 0, 0);
    add("all of K and V NaN", data, 300, 500, d, 1);
  }
  return cases;
}

// Returns how many cases fail. The environment variable HARD, or else `filter`, is part of the names of the data sets.
inline int hard_check(const HardKernel& kernel, std::string filter = "") {
  if (const char* wanted = std::getenv("HARD")) filter = wanted;
  int failed = 0, count = 0;
  for (const HardCase& c : hard_cases()) {
    if (std::string(c.data_name).find(filter) == std::string::npos) continue;
    count++, failed += !hard_case(kernel, c);
    std::fflush(stdout);
  }
  std::printf("%s, hard data: %d of %d hold\n", kernel.name.c_str(), count - failed, count);
  return failed;
}

}  // namespace attn4j_bench
