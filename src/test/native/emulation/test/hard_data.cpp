#include "test/hard_data.h"

#include <algorithm>
#include <cmath>

#include "hard_data.cuh"

namespace emulation_test {

float hard_number(const Case& c, int which, int64_t row, int64_t rows, int64_t channel, float z) {
  attn4j_bench::HardData data;
  data.kind = static_cast<attn4j_bench::Hard>(c.hard);
  data.place = static_cast<attn4j_bench::Place>(c.place);
  data.share = c.share;
  return attn4j_bench::hard_value(data, which, row, rows, channel, c.d, z);
}

namespace {

// Per key, less the mean over the keys: the step of its INT8 codes.
struct KeyNoise {
  std::vector<double> step;

  KeyNoise(const std::vector<double>& k, int64_t d) {
    const auto rows = static_cast<int64_t>(k.size()) / d;
    std::vector<double> mean(static_cast<size_t>(d)), largest;
    for (int64_t i = 0; i < rows * d; i++) mean[i % d] += k[i] / static_cast<double>(rows);
    for (int64_t j = 0; j < rows; j++) {
      double most = 0;
      for (int64_t e = 0; e < d; e++) most = std::max(most, std::fabs(k[j * d + e] - mean[e]));
      largest.push_back(most);
    }
    for (int64_t j = 0; j < rows; j++) {  // the keys {32g + 8i + 2t + e} share a scale
      double most = 0;
      for (int64_t i = 0; i < 8; i++) {
        const int64_t n = (j & ~int64_t{31}) + 8 * (i >> 1) + (j & 6) + (i & 1);
        if (n < rows) most = std::max(most, largest[n]);
      }
      step.push_back(most / 127);
    }
  }
};

// One row's weights, and the output.
struct Row {
  std::vector<double> w, o;

  Row(const double* q, double scale, int64_t d, const std::vector<double>& k, const std::vector<double>& v)
      : w(k.size() / static_cast<size_t>(d)), o(static_cast<size_t>(d)) {
    double top = -INFINITY, sum = 0;
    for (size_t j = 0; j < w.size(); j++) {
      double s = 0;
      for (int64_t e = 0; e < d; e++) s += q[e] * k[j * d + e];
      w[j] = s * scale, top = std::max(top, w[j]);
    }
    for (double& x : w) sum += x = std::exp(x - top);
    for (size_t j = 0; j < w.size(); j++) {
      w[j] /= sum;
      for (int64_t e = 0; e < d; e++) o[e] += w[j] * v[j * d + e];
    }
  }
};

// The mean of |x| where x is normal around `shift`.
double mean_size(double shift, double variance) {
  const double sigma = std::sqrt(std::max(variance, 1e-30));
  return sigma * std::sqrt(2 / M_PI) * std::exp(-shift * shift / (2 * sigma * sigma)) +
         shift * std::erf(shift / (sigma * M_SQRT2));
}

}  // namespace

double hard_model(const Case& c, bool fp8, double scale, const std::vector<double>& q, const std::vector<double>& k,
                  const std::vector<double>& v) {
  const double half = c.bf16 ? 0x1p-9 : 0x1p-12, p_error = fp8 ? 0.0264 : half, v_error = fp8 ? 0.0264 : 0;
  const KeyNoise noise(k, c.d);
  std::vector<double> v_step(static_cast<size_t>(c.d)), n(static_cast<size_t>(c.lk)), rounded(v_step.size());
  for (size_t i = 0; i < v.size() && fp8; i++) {
    v_step[i % c.d] = std::max(v_step[i % c.d], std::fabs(v[i]) * 0x1p-10 / 448);
  }
  double model = 0, size = 0;
  for (int64_t row = 0; row < c.lq; row++) {
    const double* x = &q[row * c.d];
    double squares = 0, step = 0, variance = 0;
    for (int64_t e = 0; e < c.d; e++) squares += x[e] * x[e], step = std::max(step, std::fabs(x[e]) / 127);
    // What rounding Q does is common to all keys, and adds up: it is not left to chance.
    for (int64_t e = 0; e < c.d; e++) rounded[e] = std::nearbyint(x[e] / step) * step;
    const Row exact(x, scale, c.d, k, v), shifted(rounded.data(), scale, c.d, k, v);
    for (int64_t j = 0; j < c.lk; j++) {
      n[j] = p_error * p_error + scale * scale / 12 * noise.step[j] * noise.step[j] * squares;
      n[j] *= exact.w[j] * exact.w[j], variance += n[j];
    }
    for (int64_t e = 0; e < c.d; e++) {
      double first = 0, second = 0, own = 0;
      for (int64_t j = 0; j < c.lk; j++) {
        const double y = v[j * c.d + e];
        first += n[j] * y, second += n[j] * y * y;
        own += exact.w[j] * exact.w[j] * (v_error * v_error * y * y + v_step[e] * v_step[e] / 3);
      }
      // What is common to all keys cancels against the normaliser.
      const double o = exact.o[e], all = second - 2 * o * first + o * o * variance + own + half * half * o * o;
      model += mean_size(shifted.o[e] - o, all), size += std::fabs(o);
    }
  }
  return model / size;
}

}  // namespace emulation_test
