// merge_attn_state on the emulated GPU against fp64: partial results of random rows, some of which saw no key, merged
// one after the other in tensors of any strides.
//
//   merge COUNT SEED     the exit status is 0 only if all cases hold
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "attn4j/attn4j.h"
#include "device/numeric.cuh"
#include "runtime/settings.h"

namespace {

using namespace attn4j;
constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();

// Memory of the emulated GPU, which the host reaches as well; nothing may touch what lies outside.
template <class T>
class Memory {
 public:
  Memory(int64_t count, T fill) {
    void* p = nullptr;
    if (cudaMalloc(&p, static_cast<size_t>(std::max<int64_t>(1, count)) * sizeof(T)) != cudaSuccess) std::abort();
    data_ = static_cast<T*>(p);
    std::fill(data_, data_ + count, fill);
  }
  ~Memory() { cudaFree(data_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  T* get() const { return data_; }

 private:
  T* data_;
};

struct Shape {
  int64_t b, h, l, d;
  bool bf16, nhd;
  int pad;    // elements behind a row, and before the first
  int parts;  // how many are merged
  int odd;    // 1: infinite values in the first part
};

// A tensor's strides: `pad` elements behind each row.
struct Place {
  int64_t size[4], stride[4], total;
  Place(const Shape& s, int pad) {
    const int64_t sizes[4] = {s.b, s.nhd ? s.l : s.h, s.nhd ? s.h : s.l, s.d};
    std::memcpy(size, sizes, sizeof size);
    stride[3] = 1, stride[2] = s.d + pad;
    stride[1] = stride[2] * size[2], stride[0] = stride[1] * size[1];
    total = stride[0] * size[0] + pad;
  }
  int64_t at(const Shape& s, int64_t b, int64_t h, int64_t l) const {
    return b * stride[0] + (s.nhd ? l * stride[1] + h * stride[2] : h * stride[1] + l * stride[2]);
  }
};

uint16_t rounded(float x, bool bf16) {
  return static_cast<uint16_t>(bf16 ? Element<DType::kBFloat16>::pack(x, 0.f) : Element<DType::kFloat16>::pack(x, 0.f));
}
double value_of(uint16_t x, bool bf16) {
  return bf16 ? Element<DType::kBFloat16>::to_float(x) : Element<DType::kFloat16>::to_float(x);
}

// What a row should be, in fp64.
struct Row {
  std::vector<double> o;
  double lse = kMinusInfinity, weighted = 0, largest_lse = 0;  // the largest |value| and |log-sum-exp| that came

  void add(const std::vector<double>& p, double n) {
    if (n == kMinusInfinity) return;
    const double top = std::max(lse, n), both = top + std::log(std::exp(lse - top) + std::exp(n - top));
    for (size_t c = 0; c < o.size(); c++) {
      o[c] = (lse == kMinusInfinity ? 0 : std::exp(lse - both) * o[c]) + std::exp(n - both) * p[c];
      if (std::isfinite(p[c])) weighted = std::max(weighted, std::fabs(p[c]));
    }
    lse = both, largest_lse = std::max(largest_lse, std::fabs(n));
  }
};

class Test {
 public:
  Test(const Shape& s, std::mt19937& random)
      : s_(s), random_(random), part_(s, s.pad), acc_(s, 2 * s.pad), rows_(s.b * s.h * s.l) {
    for (Row& r : rows_) r.o.assign(static_cast<size_t>(s.d), 0.);
  }

  bool run() {
    // Rows of acc_lse lie within longer ones, as part of a rank's queries does.
    const int64_t lse_row = s_.l + s_.pad;
    Memory<float> acc(acc_.total, std::nanf("")), acc_lse(s_.b * s_.h * lse_row, std::nanf(""));
    Memory<uint16_t> o(part_.total, kGuard);
    Memory<float> lse(s_.b * s_.h * s_.l, 0.f);
    MergeAttnStateParams p;
    p.tensor_layout = s_.nhd ? TensorLayout::kNHD : TensorLayout::kHND;
    p.acc = acc.get() + s_.pad, p.acc_lse = acc_lse.get();
    std::memcpy(p.acc_stride, acc_.stride, sizeof p.acc_stride);
    p.acc_lse_stride[0] = s_.h * lse_row, p.acc_lse_stride[1] = lse_row;
    for (int n = 0; n < s_.parts; n++) {
      Memory<uint16_t> part(part_.total, kGuard);
      Memory<float> part_lse(s_.b * s_.h * s_.l, 0.f);
      fill(part.get() + s_.pad, part_lse.get(), n);
      p.part = view(part.get() + s_.pad), p.part_lse = part_lse.get();
      p.is_first = n == 0;
      if (n + 1 == s_.parts) p.o = view(o.get() + s_.pad), p.lse = lse.get();
      if (s_.parts == 1) p.acc = p.acc_lse = nullptr;
      if (merge_attn_state(p, nullptr) != Status::kOk) {
        std::printf("FAILED: %s\n", last_error());
        return false;
      }
    }
    return holds(o.get() + s_.pad, lse.get());
  }

 private:
  static constexpr uint16_t kGuard = 0x5a5a;  // what lies between rows

  TensorView view(uint16_t* data) const {
    TensorView t;
    t.data = data, t.dtype = s_.bf16 ? DType::kBFloat16 : DType::kFloat16;
    std::memcpy(t.size, part_.size, sizeof t.size);
    std::memcpy(t.stride, part_.stride, sizeof t.stride);
    return t;
  }

  // Log-sum-exps lie close together or far apart; a row in 5 saw no key in this part, and has NaN for values.
  void fill(uint16_t* part, float* lse, int number) {
    std::normal_distribution<float> normal;
    int64_t i = 0;
    for (int64_t b = 0; b < s_.b; b++) {
      for (int64_t h = 0; h < s_.h; h++) {
        for (int64_t l = 0; l < s_.l; l++, i++) {
          const bool none = random_() % 5 == 0;
          lse[i] = none ? kMinusInfinity : normal(random_) * (random_() % 4 == 0 ? 60.f : 1.f);
          std::vector<double> values(static_cast<size_t>(s_.d));
          for (int64_t c = 0; c < s_.d; c++) {
            float x = none ? std::nanf("") : normal(random_);
            if (s_.odd == 1 && number == 0 && !none && c == 0) x = std::numeric_limits<float>::infinity();
            const uint16_t bits = rounded(x, s_.bf16);
            part[part_.at(s_, b, h, l) + c] = bits;
            values[static_cast<size_t>(c)] = value_of(bits, s_.bf16);
          }
          rows_[static_cast<size_t>(i)].add(values, lse[i]);
        }
      }
    }
  }

  bool holds(const uint16_t* o, const float* lse) {
    const double half = s_.bf16 ? 0x1p-8 : 0x1p-11;  // relative
    int64_t i = 0, wrong = 0;
    for (int64_t b = 0; b < s_.b; b++) {
      for (int64_t h = 0; h < s_.h; h++) {
        for (int64_t l = 0; l < s_.l; l++, i++) {
          const Row& row = rows_[static_cast<size_t>(i)];
          const double n = lse[i];
          wrong += row.lse == kMinusInfinity ? n != row.lse : !(std::fabs(n - row.lse) <= 1e-6 * (1 + std::fabs(n)));
          const uint16_t* found = o + part_.at(s_, b, h, l);
          for (int64_t c = 0; c < s_.d; c++) wrong += !right(value_of(found[c], s_.bf16), row, c, half);
          for (int c = 0; c < s_.pad; c++) wrong += found[s_.d + c] != kGuard;
        }
      }
    }
    if (wrong > 0) std::printf("FAILED: %lld values are wrong: ", static_cast<long long>(wrong));
    return wrong == 0;
  }

  // One rounding of the output, and fp32's of each part, of its log-sum-exp too; an infinite value whose weight fp32
  // can't hold is NaN there, as it is in one call.
  bool right(double found, const Row& row, int64_t c, double half) const {
    const double expected = row.o[static_cast<size_t>(c)];
    if (!std::isfinite(expected)) return !std::isfinite(found);
    return std::fabs(found - expected) <=
           half * std::fabs(expected) * 1.001 + (4e-7 + 1e-7 * row.largest_lse) * s_.parts * row.weighted + 0x1p-25;
  }

  const Shape s_;
  std::mt19937& random_;
  const Place part_, acc_;
  std::vector<Row> rows_;
};

Shape draw(std::mt19937& random) {
  const auto one_of = [&](const std::vector<int64_t>& all) { return all[random() % all.size()]; };
  Shape s;
  s.b = one_of({1, 2}), s.h = one_of({1, 3, 5}), s.l = one_of({1, 2, 3, 4, 7, 33});
  s.d = one_of({1, 3, 8, 40, 64, 72, 128, 250, 256});
  s.bf16 = random() % 2, s.nhd = random() % 2;
  s.pad = static_cast<int>(one_of({0, 0, 1, 4, 8}));
  s.parts = static_cast<int>(one_of({1, 2, 3, 8}));
  s.odd = random() % 8 == 0;
  return s;
}

}  // namespace

int main(int argc, char** argv) {
  const int count = argc > 1 ? std::atoi(argv[1]) : 100;
  std::mt19937 random(argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 1u);
  int failed = 0;
  for (int n = 0; n < count; n++) {
    emulation::settings().seed = n % 3 == 0 ? 0 : random();
    const Shape s = draw(random);
    if (Test(s, random).run()) continue;
    failed++;
    std::printf("b=%lld h=%lld l=%lld d=%lld bf16=%d nhd=%d pad=%d parts=%d odd=%d\n", static_cast<long long>(s.b),
                static_cast<long long>(s.h), static_cast<long long>(s.l), static_cast<long long>(s.d), s.bf16, s.nhd,
                s.pad, s.parts, s.odd);
  }
  std::printf("merge: %d cases, %d failed\n", count, failed);
  return failed > 0;
}
