// wgmma.mma_async (PTX ISA, "Asynchronous Warpgroup Level Matrix Instructions"): fragments, descriptors and strides as
// its figures and tables have them. A multiply reads shared memory at some time between its issue and the wait for its
// group, as the seed says; the accumulator's registers hold poison in between.
#include "runtime/wgmma.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "matrix.h"
#include "runtime/cta.h"
#include "runtime/tensor_map.h"

namespace emulation {
namespace {

int element_bytes(MatrixType type) { return type == MatrixType::kF16 || type == MatrixType::kBf16 ? 2 : 1; }

float element(MatrixType type, const char* p) {
  uint16_t half;
  switch (type) {
    case MatrixType::kF16:
      std::memcpy(&half, p, 2);
      return f16_to_float(half);
    case MatrixType::kBf16:
      std::memcpy(&half, p, 2);
      return bf16_to_float(half);
    case MatrixType::kS8:
      return static_cast<int8_t>(*p);
    default:
      return e4m3_to_float(static_cast<uint8_t>(*p));
  }
}

// "Matrix descriptor": where the elements of an operand are.
class Operand {
 public:
  Operand(uint64_t d, int bytes, bool transposed)
      : start_(static_cast<uint32_t>(d & 0x3fff) << 4),
        leading_(static_cast<uint32_t>(d >> 16 & 0x3fff) << 4),
        stride_(static_cast<uint32_t>(d >> 32 & 0x3fff) << 4),
        bytes_(static_cast<uint32_t>(bytes)),
        transposed_(transposed) {
    constexpr uint32_t kSwizzles[] = {0, 128, 64, 32};
    swizzle_ = kSwizzles[d >> 62];
    if ((d >> 49 & 7) != 0) fail("wgmma: a descriptor has a base offset, which isn't emulated");
  }

  // Of row `r` of A or column `r` of B, at depth `k`.
  uint32_t address(uint32_t r, uint32_t k) const {
    uint32_t offset = 0;
    if (transposed_) {  // pieces of 8 rows lie side by side, a line for each k
      const uint32_t piece = r / 8, in_line = swizzle_ == 0 ? 1 : swizzle_ / 16;
      offset = swizzle_ == 0 ? piece * stride_ + k % 8 * 16 + k / 8 * leading_
                             : piece % in_line * 16 + piece / in_line * leading_ + k % 8 * swizzle_ + k / 8 * stride_;
      offset += r % 8 * bytes_;
    } else {
      const uint32_t at = k * bytes_;
      offset = r / 8 * stride_ + (swizzle_ == 0 ? r % 8 * 16 + at / 16 * leading_ + at % 16 : r % 8 * swizzle_ + at);
    }
    return swizzled(start_ + offset, swizzle_);
  }

 private:
  uint32_t start_, leading_, stride_, bytes_, swizzle_ = 0;
  bool transposed_;
};

// Row and column of number i of a thread's share of D: "Register Fragments and Shared Memory Matrix Layouts".
int d_row(int thread, int i) { return thread / 32 * 16 + thread % 32 / 4 + 8 * (i / 2 % 2); }
int d_column(int thread, int i) { return 8 * (i / 4) + 2 * (thread % 4) + i % 2; }

// A of 64 rows in registers: for each warp as mma.sync has it.
std::vector<float> a_of_registers(WarpgroupMultiply** threads, MatrixType type) {
  const int bytes = element_bytes(type), depth = 32 / bytes, each = 4 / bytes;
  std::vector<float> a(static_cast<size_t>(64 * depth));
  for (int t = 0; t < 128; t++) {
    for (int i = 0; i < 4 * each; i++) {
      const int word = i / each, row = t / 32 * 16 + t % 32 / 4 + 8 * (word & 1);
      const int k = t % 4 * each + i % each + depth / 2 * (word >> 1);
      a[static_cast<size_t>(row * depth + k)] =
          element(type, reinterpret_cast<const char*>(threads[t]->a_registers) + word * 4 + i % each * bytes);
    }
  }
  return a;
}

void multiply(const Multiply& m, Accumulator& d, const Cta& cta) {
  const int bytes = element_bytes(m.type), depth = 32 / bytes, n = m.n;
  std::vector<float> a = m.a, b(static_cast<size_t>(depth * n));
  const auto read = [&](const Operand& operand, int r, int k) {
    return element(m.type, cta.shared_pointer(operand.address(static_cast<uint32_t>(r), static_cast<uint32_t>(k)),
                                              static_cast<uint32_t>(bytes), 1, "wgmma"));
  };
  if (!m.a_in_registers) {
    const Operand operand(m.a_descriptor, bytes, false);
    a.resize(static_cast<size_t>(64 * depth));
    for (int i = 0; i < 64 * depth; i++) a[static_cast<size_t>(i)] = read(operand, i / depth, i % depth);
  }
  const Operand operand(m.b_descriptor, bytes, m.transposed_b);
  for (int k = 0; k < depth; k++) {
    for (int j = 0; j < n; j++) b[static_cast<size_t>(k * n + j)] = read(operand, j, k);
  }
  for (int row = 0; row < 64; row++) {
    double* to = &d.values[static_cast<size_t>(row * n)];
    const float* from = &a[static_cast<size_t>(row * depth)];
    if (!m.accumulates) std::fill_n(to, n, 0.);
    if (m.type == MatrixType::kE4m3) {
      for (int j = 0; j < n; j++) to[j] = fp8_sum(from, &b[static_cast<size_t>(j)], n, to[j]);
      continue;
    }
    for (int k = 0; k < depth; k++) {
      const double x = from[k];
      for (int j = 0; j < n; j++) to[j] += x * b[static_cast<size_t>(k * n + j)];
    }
    if (m.type != MatrixType::kS8) {
      for (int j = 0; j < n; j++) to[j] = static_cast<float>(to[j]);
    }
  }
}

void read_registers(Accumulator& d) {
  for (int t = 0; t < 128; t++) {
    for (int i = 0; i < d.n / 2; i++) {
      const char* from = static_cast<const char*>(d.registers[static_cast<size_t>(t)]) + 4 * i;
      float x;
      int32_t y;
      std::memcpy(&x, from, 4), std::memcpy(&y, from, 4);
      d.values[static_cast<size_t>(d_row(t, i) * d.n + d_column(t, i))] = d.is_int ? y : x;
    }
  }
}

void write_registers(const Accumulator& d) {
  for (int t = 0; t < 128; t++) {
    for (int i = 0; i < d.n / 2; i++) {
      const double value = d.values[static_cast<size_t>(d_row(t, i) * d.n + d_column(t, i))];
      const auto x = static_cast<float>(value);
      const auto y = static_cast<int32_t>(d.is_int ? value : 0);
      std::memcpy(static_cast<char*>(d.registers[static_cast<size_t>(t)]) + 4 * i,
                  d.is_int ? static_cast<const void*>(&y) : &x, 4);
    }
  }
}

// The four warps must agree, but for what each thread's registers hold.
void check_agreement(WarpgroupMultiply** threads) {
  const WarpgroupMultiply& first = *threads[0];
  for (int t = 1; t < 128; t++) {
    const WarpgroupMultiply& other = *threads[t];
    const bool same = other.type == first.type && other.n == first.n && other.accumulates == first.accumulates &&
                      other.transposed_b == first.transposed_b && other.a_descriptor == first.a_descriptor &&
                      other.b_descriptor == first.b_descriptor;
    if (!same) fail("wgmma: thread %d of the warpgroup has another shape, flag or descriptor than its first", t);
  }
  const int step = first.type == MatrixType::kS8 ? 16 : 8;  // "Shape": s8 has fewer
  const bool has = first.n % 8 == 0 && first.n >= 8 && first.n <= 256 && (first.n % step == 0 || first.n <= 24);
  if (!has) fail("wgmma: n is %d", first.n);
}

// Runs what isn't done yet, in order: those that share an accumulator follow each other.
void catch_up(Warpgroup& w, const Cta& cta) {
  const auto run = [&](std::vector<Multiply>& multiplies) {
    for (Multiply& m : multiplies) {
      if (!m.done) multiply(m, w.accumulators.at(m.d), cta);
      m.done = true;
    }
  };
  for (auto& group : w.groups) run(group);
  run(w.open);
}

void begin(Warpgroup& w, WarpgroupMultiply** threads) {
  const WarpgroupMultiply& first = *threads[0];
  Multiply m{first.type,
             first.n,
             first.accumulates,
             first.transposed_b,
             first.a_registers != nullptr,
             first.a_descriptor,
             first.b_descriptor,
             {},
             first.d,
             false};
  if (m.a_in_registers) m.a = a_of_registers(threads, m.type);
  const bool is_new = w.accumulators.count(m.d) == 0;
  if ((is_new || m.a_in_registers) && !w.fenced)
    fail("wgmma: its registers were free before, and no wgmma.fence followed");
  Accumulator& d = w.accumulators[m.d];
  if (is_new) {
    d.n = m.n, d.is_int = m.type == MatrixType::kS8;
    d.values.assign(static_cast<size_t>(64 * m.n), 0.);
    for (int t = 0; t < 128; t++) d.registers.push_back(threads[t]->d);
    if (m.accumulates) read_registers(d);
    for (void* r : d.registers) std::memset(r, 0xff, static_cast<size_t>(d.n / 2 * 4));
  }
  if (d.n != m.n) fail("wgmma: n is %d, and %d in the multiply under way", m.n, d.n);
  d.multiplies++;
  w.open.push_back(std::move(m));
}

}  // namespace

void Cta::wgmma(const WarpgroupMultiply& mine) {
  void* slots[128];
  WarpgroupMultiply copy = mine;
  if (!meet_warpgroup("wgmma.mma_async", &copy, slots)) return;
  auto** threads = reinterpret_cast<WarpgroupMultiply**>(slots);
  check_agreement(threads);
  Warpgroup& w = *multipliers_[static_cast<size_t>(self->number / 128)];
  begin(w, threads);
  if (seed_ != 0 && toss()) catch_up(w, *this);
}

void Cta::wgmma_fence() {
  void* slots[128];
  if (meet_warpgroup("wgmma.fence", nullptr, slots))
    multipliers_[static_cast<size_t>(self->number / 128)]->fenced = true;
}

void Cta::wgmma_commit() {
  void* slots[128];
  if (!meet_warpgroup("wgmma.commit_group", nullptr, slots)) return;
  Warpgroup& w = *multipliers_[static_cast<size_t>(self->number / 128)];
  w.groups.push_back(std::move(w.open));
  w.open.clear();
}

void Cta::wgmma_wait(int pending) {
  void* slots[128];
  if (!meet_warpgroup("wgmma.wait_group", nullptr, slots)) return;
  Warpgroup& w = *multipliers_[static_cast<size_t>(self->number / 128)];
  w.fenced = false;
  while (w.groups.size() > static_cast<size_t>(pending)) {
    for (Multiply& m : w.groups.front()) {
      Accumulator& d = w.accumulators.at(m.d);
      if (!m.done) multiply(m, d, *this);
      if (--d.multiplies > 0) continue;
      write_registers(d);
      w.accumulators.erase(m.d);
    }
    w.groups.pop_front();
  }
}

}  // namespace emulation
