#include "matrix.h"

#include <cuda_fp16.h>

#include <array>
#include <cmath>
#include <cstring>

#include "machine.h"
#include "runtime/settings.h"

namespace emulation {

float f16_to_float(uint16_t x) {
  static const std::array<float, 65536> table = [] {
    std::array<float, 65536> t;
    for (uint32_t i = 0; i < 65536; i++) t[i] = __half2float(__half(__half_raw{static_cast<uint16_t>(i)}));
    return t;
  }();
  return table[x];
}

float bf16_to_float(uint16_t x) {
  const uint32_t bits = static_cast<uint32_t>(x) << 16;
  float y;
  std::memcpy(&y, &bits, sizeof y);
  return y;
}

// Sign, 4 bits of exponent with bias 7, 3 of mantissa; all ones are NaN, and there is no infinity.
float e4m3_to_float(uint8_t x) {
  static const std::array<float, 256> table = [] {
    std::array<float, 256> t;
    for (int i = 0; i < 256; i++) {
      const int exponent = i >> 3 & 15, mantissa = i & 7;
      const float size = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                       : std::ldexp(static_cast<float>(8 + mantissa), exponent - 10);
      t[i] = (i & 127) == 127 ? std::nanf("") : i & 128 ? -size : size;
    }
    return t;
  }();
  return table[x];
}

uint16_t float_to_f16(float x) { return static_cast<__half_raw>(__float2half_rn(x)).x; }

uint8_t float_to_e4m3(float x) {
  const uint8_t sign = std::signbit(x) ? 0x80 : 0;
  const float size = std::fabs(x);
  if (std::isnan(x)) return sign | 0x7f;
  if (size >= 448.f) return sign | 0x7e;
  int exponent;
  std::frexp(size, &exponent);  // size = 0.5..1 * 2^exponent
  const int step = exponent - 4 > -9 ? exponent - 4 : -9;
  const float units = std::nearbyint(std::ldexp(size, -step));  // ties to even; exact before
  const float rounded = std::ldexp(units, step);
  for (uint8_t i = 0; i < 127; i++) {
    if (e4m3_to_float(i) == rounded) return sign | i;
  }
  return sign | 0x7e;
}

float fp8_sum(const float* a, const float* b, int n, double accumulator) {
  float products[32], largest = static_cast<float>(std::fabs(accumulator));
  for (int k = 0; k < 32; k++) {
    products[k] = a[k] * b[k * n];
    largest = std::max(largest, std::fabs(products[k]));
    if (std::isnan(products[k])) return products[k];
  }
  if (!std::isfinite(accumulator)) return static_cast<float>(accumulator);
  if (largest == 0.f) return 0.f;
  const int exponent = std::ilogb(largest) - settings().fp8_bits;
  const double quantum = std::ldexp(1., exponent), inverse = std::ldexp(1., -exponent);
  int64_t sum = static_cast<int64_t>(accumulator * inverse);
  for (const float p : products) sum += static_cast<int64_t>(p * inverse);
  return static_cast<float>(static_cast<double>(sum) * quantum);
}

namespace {

float element(MatrixType type, const uint32_t* words, int i) {
  switch (type) {
    case MatrixType::kF16:
      return f16_to_float(static_cast<uint16_t>(words[i / 2] >> (16 * (i % 2))));
    case MatrixType::kBf16:
      return bf16_to_float(static_cast<uint16_t>(words[i / 2] >> (16 * (i % 2))));
    case MatrixType::kS8:
      return static_cast<int8_t>(words[i / 4] >> (8 * (i % 4)));
    case MatrixType::kE4m3:
      return e4m3_to_float(static_cast<uint8_t>(words[i / 4] >> (8 * (i % 4))));
  }
  return 0.f;
}

struct Operands {
  uint32_t a[4], b[2];
  double c[4], d[4];
};

// The operands of a whole warp as matrices, and the product.
struct WarpMultiply {
  MatrixType type;
  float a[16][32], b[32][8];  // b: [k][n]

  void take(Operands** lanes) {
    const bool wide = type == MatrixType::kF16 || type == MatrixType::kBf16;  // two elements to a register, else four
    const int each = wide ? 2 : 4;
    for (int lane = 0; lane < 32; lane++) {
      const int group = lane >> 2, t = lane & 3;
      for (int i = 0; i < 4 * each; i++) {
        const int word = i / each, e = i % each;
        a[group + 8 * (word & 1)][t * each + e + 4 * each * (word >> 1)] = element(type, lanes[lane]->a, i);
      }
      for (int i = 0; i < 2 * each; i++) {
        b[t * each + i % each + 4 * each * (i / each)][group] = element(type, lanes[lane]->b, i);
      }
    }
    for (int lane = 0; lane < 32; lane++) {
      const int group = lane >> 2, t = lane & 3;
      for (int i = 0; i < 4; i++) {
        const int row = group + 8 * (i >> 1), column = 2 * t + (i & 1);
        double sum = lanes[lane]->c[i];
        if (type == MatrixType::kE4m3) {
          lanes[lane]->d[i] = fp8_sum(a[row], &b[0][column], 8, sum);
          continue;
        }
        for (int k = 0; k < 8 * each; k++) sum += static_cast<double>(a[row][k]) * b[k][column];
        lanes[lane]->d[i] = sum;
      }
    }
  }
};

void multiply(MatrixType type, const char* what, Operands& mine) {
  in_warp(what, 0xffffffffu, mine, [&](Operands** lanes) {
    WarpMultiply all;
    all.type = type;
    all.take(lanes);
  });
}

}  // namespace

void mma_sync(MatrixType type, uint32_t (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
              const uint32_t (&c)[4]) {
  Operands mine{{a[0], a[1], a[2], a[3]}, {b0, b1}, {}, {}};
  for (int i = 0; i < 4; i++) {
    float x;
    std::memcpy(&x, &c[i], sizeof x);
    mine.c[i] = type == MatrixType::kS8 ? static_cast<int32_t>(c[i]) : x;
  }
  multiply(type, "mma.sync", mine);
  for (int i = 0; i < 4; i++) {
    const auto x = static_cast<float>(mine.d[i]);
    if (type == MatrixType::kS8) {
      d[i] = static_cast<uint32_t>(static_cast<int64_t>(mine.d[i]));  // wraps around
    } else {
      std::memcpy(&d[i], &x, sizeof x);
    }
  }
}

void mma_sync_f16_accumulator(MatrixType type, uint32_t (&d)[2], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                              const uint32_t (&c)[2]) {
  Operands mine{{a[0], a[1], a[2], a[3]}, {b0, b1}, {}, {}};
  for (int i = 0; i < 4; i++) mine.c[i] = f16_to_float(static_cast<uint16_t>(c[i / 2] >> (16 * (i % 2))));
  multiply(type, "mma.sync with fp16 accumulators", mine);
  const auto half = [&](int i) { return static_cast<uint32_t>(static_cast<__half_raw>(__double2half(mine.d[i])).x); };
  for (int i = 0; i < 2; i++) d[i] = half(2 * i) | half(2 * i + 1) << 16;
}

void ldmatrix_x4(uint32_t (&r)[4], uint32_t address, bool transposed) {
  struct Lane {
    uint32_t address, r[4];
  } mine{address, {}};
  in_warp("ldmatrix", 0xffffffffu, mine, [&](Lane** lanes) {
    for (int m = 0; m < 4; m++) {
      uint16_t rows[8][8];
      for (int i = 0; i < 8; i++) {
        std::memcpy(rows[i], shared_pointer(lanes[8 * m + i]->address, 16, 16, "ldmatrix"), 16);
      }
      for (int lane = 0; lane < 32; lane++) {
        const int row = lane / 4, column = lane % 4 * 2;
        const uint32_t low = transposed ? rows[column][row] : rows[row][column];
        const uint32_t high = transposed ? rows[column + 1][row] : rows[row][column + 1];
        lanes[lane]->r[m] = low | high << 16;
      }
    }
  });
  for (int i = 0; i < 4; i++) r[i] = mine.r[i];
}

}  // namespace emulation
