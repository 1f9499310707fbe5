// Checks and times merge_attn_state.
//
//   nvcc -std=c++17 -O3 -arch=native -Isrc/main/cpp/include bench/cpp/merge_times.cu -o merge_times -LFOLDER -lattn4j
//   (or, without the library: -DATTN4J_SM=90 -Isrc/main/cpp and, for -lattn4j, src/main/cpp/quant/merge.cu and
//   src/main/cpp/host/{merge_api,status,validate}.cpp)
//   ./merge_times [H:L:D ...]      one batch entry; 40:9450:128 if none is given: a rank of 8 of Wan 720p
//
// 8 random parts in fp16, every 7th row of a part without a key, merged in HND and in NHD; 2,000 rows against fp64.
// Then medians of 15 rounds of 20 launches, for each form: what it moves, and how fast. Beside them, a copy of as many
// bytes as an addition moves (cudaMemcpyAsync). The exit status is 0 only if all rows are right.
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

#include "attn4j/attn4j.h"

namespace {

using attn4j::MergeAttnStateParams;
using attn4j::Status;
using attn4j::TensorLayout;

constexpr int kParts = 8, kRounds = 15, kLaunches = 20;

void require(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("FAILED: %s: %s\n", what, cudaGetErrorString(error));
  std::exit(2);
}

struct Shape {
  int64_t h, l, d;
  __host__ __device__ int64_t elements() const { return h * l * d; }
};

__host__ __device__ uint32_t mix(uint32_t x) {
  x ^= x >> 16, x *= 0x7feb352dU, x ^= x >> 15, x *= 0x846ca68bU;
  return x ^ (x >> 16);
}
__host__ __device__ float uniform(uint32_t seed, int64_t i) {
  return static_cast<float>(mix(static_cast<uint32_t>(i) * 2654435761u + seed) >> 8) / 8388608.f - 1.f;
}
__host__ __device__ float lse_of(uint32_t part, int64_t row) {
  return (row + part) % 7 == 0 ? -__builtin_huge_valf() : 8.f * uniform(1000 + part, row);
}

// Values of a part by their place in memory; NaN where the row saw no key.
__global__ void fill(__half* x, float* lse, Shape s, bool nhd, uint32_t part) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < s.elements();
       i += int64_t{gridDim.x} * blockDim.x) {
    const int64_t place = i / s.d, row = nhd ? place % s.h * s.l + place / s.h : place;
    const bool none = isinf(lse_of(part, row));
    x[i] = none ? __ushort_as_half(0x7fff) : __float2half(uniform(part, i));
    if (i % s.d == 0) lse[row] = lse_of(part, row);
  }
}

class Bench {
 public:
  Bench(const Shape& s, bool nhd) : s_(s), nhd_(nhd) {
    for (int n = 0; n < kParts; n++) {
      parts_.push_back(memory<__half>(s.elements()));
      lses_.push_back(memory<float>(s.h * s.l));
      fill<<<2048, 256>>>(parts_[n], lses_[n], s, nhd, n);
    }
    acc_ = memory<float>(s.elements()), acc_lse_ = memory<float>(s.h * s.l);
    o_ = memory<__half>(s.elements()), lse_ = memory<float>(s.h * s.l);
    require(cudaDeviceSynchronize(), "fill");
    require(cudaEventCreate(&start_), "event"), require(cudaEventCreate(&end_), "event");
  }
  ~Bench() {
    for (void* p : all_) cudaFree(p);
    cudaEventDestroy(start_), cudaEventDestroy(end_);
  }

  void merge(int part, bool first, bool last) {
    MergeAttnStateParams p;
    p.tensor_layout = nhd_ ? TensorLayout::kNHD : TensorLayout::kHND;
    p.part = view(parts_[part]), p.part_lse = lses_[part];
    p.is_first = first;
    p.acc = acc_, p.acc_lse = acc_lse_;
    std::copy(p.part.stride, p.part.stride + 4, p.acc_stride);
    p.acc_lse_stride[0] = s_.h * s_.l, p.acc_lse_stride[1] = s_.l;
    if (last) p.o = view(o_), p.lse = lse_;
    if (attn4j::merge_attn_state(p, nullptr) == Status::kOk) return;
    std::printf("FAILED: %s\n", attn4j::last_error());
    std::exit(2);
  }

  bool check() {
    for (int n = 0; n < kParts; n++) merge(n, n == 0, n + 1 == kParts);
    std::vector<__half> o(s_.elements());
    std::vector<float> lse(s_.h * s_.l);
    require(cudaMemcpy(o.data(), o_, 2 * o.size(), cudaMemcpyDefault), "copy");
    require(cudaMemcpy(lse.data(), lse_, 4 * lse.size(), cudaMemcpyDefault), "copy");
    double worst = 0, worst_lse = 0;
    const int64_t rows = s_.h * s_.l;
    for (int64_t n = 0; n < std::min<int64_t>(2000, rows); n++) {
      const int64_t row = (n * 7919 + rows - 1) % rows, h = row / s_.l, l = row % s_.l;
      const int64_t place = nhd_ ? l * s_.h + h : row;
      double sum = 0;
      for (int p = 0; p < kParts; p++) sum += std::exp(double{lse_of(p, row)});
      worst_lse = std::max(worst_lse, std::fabs(lse[row] - std::log(sum)));
      for (int64_t c = 0; c < s_.d; c++) {
        double x = 0;
        for (int p = 0; p < kParts; p++) {
          const double value = __half2float(__float2half(uniform(p, place * s_.d + c)));
          x += std::exp(double{lse_of(p, row)}) / sum * value;
        }
        const double error = std::fabs(__half2float(o[place * s_.d + c]) - x) / (0x1p-11 * std::fabs(x) + 4e-6);
        worst = std::isnan(error) ? HUGE_VAL : std::max(worst, error);
      }
    }
    const bool good = worst <= 1 && worst_lse < 1e-5;
    std::printf("%s merge %s: %.3f of one rounding and 4e-6, lse off by %.1e\n", good ? "ok" : "FAILED", name(), worst,
                worst_lse);
    return good;
  }

  void time() {
    const double rows = 4. * s_.h * s_.l, n = static_cast<double>(s_.elements());
    report("first", 6 * n + 2 * rows, [&] { merge(0, true, false); });
    report("add", 10 * n + 3 * rows, [&] { merge(1, false, false); });
    report("last", 8 * n + 3 * rows, [&] { merge(2, false, true); });
    // Half of what it moves is read.
    char* const from = memory<char>(5 * s_.elements());
    char* const to = memory<char>(5 * s_.elements());
    report("memcpy", 10 * n, [&] { cudaMemcpyAsync(to, from, 5 * s_.elements(), cudaMemcpyDefault, nullptr); });
  }

 private:
  const char* name() const { return nhd_ ? "NHD" : "HND"; }

  template <class T>
  T* memory(int64_t count) {
    void* p = nullptr;
    require(cudaMalloc(&p, count * sizeof(T)), "cudaMalloc");
    all_.push_back(p);
    return static_cast<T*>(p);
  }

  attn4j::TensorView view(void* data) const {
    attn4j::TensorView t;
    t.data = data;
    const int64_t size[] = {1, nhd_ ? s_.l : s_.h, nhd_ ? s_.h : s_.l, s_.d};
    std::copy(size, size + 4, t.size);
    t.stride[3] = 1, t.stride[2] = s_.d, t.stride[1] = s_.d * size[2], t.stride[0] = s_.elements();
    return t;
  }

  void report(const char* form, double bytes, const std::function<void()>& launch) {
    std::vector<float> ms;
    for (int r = 0; r < kRounds; r++) {
      launch();
      require(cudaEventRecord(start_), "event");
      for (int i = 0; i < kLaunches; i++) launch();
      require(cudaEventRecord(end_), "event");
      require(cudaEventSynchronize(end_), "a merge");
      ms.push_back(0);
      require(cudaEventElapsedTime(&ms.back(), start_, end_), "event");
    }
    std::sort(ms.begin(), ms.end());
    const double each = ms[kRounds / 2] / kLaunches;
    std::printf("%s %-6s h %lld l %lld d %lld: %.4f ms, %.0f MB, %.2f TB/s\n", name(), form,
                static_cast<long long>(s_.h), static_cast<long long>(s_.l), static_cast<long long>(s_.d), each,
                bytes / 1e6, bytes / each / 1e9);
  }

  const Shape s_;
  const bool nhd_;
  std::vector<void*> all_;
  std::vector<__half*> parts_;
  std::vector<float*> lses_;
  float *acc_, *acc_lse_, *lse_;
  __half* o_;
  cudaEvent_t start_, end_;
};

}  // namespace

int main(int argc, char** argv) {
  std::vector<Shape> shapes;
  for (int i = 1; i < argc; i++) {
    long long h, l, d;
    if (std::sscanf(argv[i], "%lld:%lld:%lld", &h, &l, &d) != 3) {
      std::printf("%s is no H:L:D\n", argv[i]);
      return 2;
    }
    shapes.push_back({h, l, d});
  }
  if (shapes.empty()) shapes.push_back({40, 9450, 128});
  bool good = true;
  for (const Shape& s : shapes) {
    for (const bool nhd : {false, true}) {
      Bench bench(s, nhd);
      good = bench.check() && good;
      bench.time();
    }
  }
  return good ? 0 : 1;
}
