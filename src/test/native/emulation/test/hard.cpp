// The quantised kernels on mma.sync over data that flatters none of them, on the emulated GPU, against fp64.
//
//   hard KERNEL...     exit status 0 only if all hold; KERNEL as in attention.cpp: int8_f16, int8_acc16, fp8, fp8_acc16
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "test/problem.h"

namespace emulation_test {
namespace {

uint16_t bits_of(bool bf16, float x) {
  return bf16 ? static_cast<__nv_bfloat16_raw>(__float2bfloat16_rn(x)).x
              : static_cast<__half_raw>(__float2half_rn(x)).x;
}

// Element (row, channel) of a head's q, k and v.
struct Data {
  const char* name;
  int64_t keys;
  std::function<float(std::mt19937& random, int64_t key)> q, k, v;
  // At most, of INT8 with 16-bit P V, of FP8, and of FP8 with fp16 accumulators: relative L1; and of all, |sum of
  // errors| / sum |reference|.
  double int8, fp8, fp8_acc16, bias;
};

float normal(std::mt19937& random) { return std::normal_distribution<float>()(random); }

// Few keys that weigh far more than the many others, whose values tell which are lost.
Data tail(const char* name, int64_t first, int64_t step) {
  constexpr int64_t kKeys = 4096, kHeavy = 16;
  const auto heavy = [=](int64_t key) {
    return key >= first && (key - first) % step == 0 && (key - first) / step < kHeavy;
  };
  return {name,
          kKeys,
          [](std::mt19937& r, int64_t) { return normal(r); },
          [=](std::mt19937& r, int64_t key) { return (heavy(key) ? 4.f : 1.f) * normal(r); },
          [=](std::mt19937& r, int64_t key) { return normal(r) + (heavy(key) ? 3.f : 0.f); },
          0.015,
          0.027,
          0.027,
          0.004};
}

std::vector<Data> all_data(bool bf16) {
  const auto plain = [](std::mt19937& r, int64_t) { return normal(r); };
  const float huge = bf16 ? 1e30f : 65000.f;
  return {
      {"N(0,1)", 2048, plain, plain, plain, 0.0115, 0.0365, 0.038, 0.005},
      tail("heavy keys first", 0, 1),
      tail("heavy keys last", 4096 - 16, 1),
      tail("heavy keys scattered", 100, 200),
      {"values of one sign", 2048, plain, plain, [](std::mt19937& r, int64_t) { return 1.f + 0.25f * normal(r); },
       0.0005, 0.0006, 0.0006, 0.0003},
      // Sums of fp16 accumulators would be infinite.
      {"huge values", 1024, plain, plain, [=](std::mt19937& r, int64_t) { return huge * (r() % 2 == 0 ? 1.f : 0.5f); },
       0.0005, 0.001, 0.001, 0.0005},
      {"one huge value", 1024, plain, plain,
       [=](std::mt19937& r, int64_t key) { return key == 700 ? huge : normal(r); }, 0.01, 0.03, 0.03, 0.008},
      {"large scores", 1024, [](std::mt19937& r, int64_t) { return 6.f * normal(r); }, plain, plain, 0.025, 0.04, 0.04,
       0.002},
  };
}

bool holds(const std::string& kernel, int64_t d, bool bf16, const Data& data) {
  Case c;
  c.kernel = kernel, c.lq = 128, c.lk = data.keys, c.d = d, c.bf16 = bf16;
  // All rows of a head share what rounding makes of its few heavy keys: one head says little of the mean error.
  c.hq = c.hkv = data.keys > 2048 ? 4 : 1;
  Problem problem(c);
  std::mt19937 random(11);
  const std::function<float(std::mt19937&, int64_t)>* makers[3] = {&data.q, &data.k, &data.v};
  const attn4j::TensorView* tensors[3] = {&problem.params.q, &problem.params.k, &problem.params.v};
  for (int i = 0; i < 3; i++) {
    auto* p = static_cast<uint16_t*>(tensors[i]->data);
    const int64_t rows = tensors[i]->size[2], numbers = tensors[i]->size[1] * rows * d;
    for (int64_t n = 0; n < numbers; n++) p[n] = bits_of(bf16, (*makers[i])(random, n / d % rows));
  }
  Output got;
  const std::string error = problem.run(&got);
  const Output expected = problem.reference();
  double far = 0, size = 0, bias = 0;
  int64_t not_finite = 0;
  for (size_t i = 0; i < got.o.size(); i++) {
    not_finite += !std::isfinite(got.o[i]);
    far += std::fabs(got.o[i] - expected.o[i]), size += std::fabs(expected.o[i]), bias += got.o[i] - expected.o[i];
  }
  const double l1 = far / size, allowed = kernel == "fp8"         ? data.fp8
                                          : kernel == "fp8_acc16" ? data.fp8_acc16
                                                                  : data.int8;
  const double rounding = bf16 ? 0x1p-8 * 0.4 : 0;
  const bool good = error.empty() && not_finite == 0 && l1 <= allowed + rounding && std::fabs(bias / size) <= data.bias;
  std::printf("%s %s, head_dim %ld, %s, %s: L1 %.4f of %.4f, bias %+.4f%s\n", good ? "ok" : "WRONG", kernel.c_str(),
              static_cast<long>(d), bf16 ? "bf16" : "fp16", data.name, l1, allowed + rounding, bias / size,
              error.c_str());
  return good;
}

}  // namespace
}  // namespace emulation_test

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  int wrong = 0;
  for (int i = 1; i < argc; i++) {
    for (const bool bf16 : {false, true}) {
      for (const auto& data : emulation_test::all_data(bf16)) {
        wrong += !emulation_test::holds(argv[i], bf16 ? 128 : 64, bf16, data);
      }
    }
  }
  return wrong == 0 && argc > 1 ? 0 : 1;
}
