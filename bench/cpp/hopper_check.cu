// Stand-alone check and benchmark of the Hopper path, without the library's host layer. From src/main/cpp:
//
//   nvcc -std=c++17 -O3 -gencode=arch=compute_90a,code=sm_90a -DATTN4J_SM=90 -I. -Iinclude -I../../../bench/cpp
//     ../../../bench/cpp/hopper_check.cu quant/fp8_prepass.cu -o hopper_check
//
//   hopper_check check [filter]           against the reference, sampled rows
//   hopper_check repeat N [filter]        N bitwise repeats
//   hopper_check lossless [filter]        the same bits whether keys that add nothing are left out or not
//   hopper_check time L,L,.. [filter]     TOPS, kernel alone and with quantisation
//   hopper_check race L,L,.. R [filter]   the same, R rounds over all kernels in turn with pauses between; a table. The
//                                         environment variables B and H set batch and heads, CAUSAL the mask, DATA the
//                                         kind of inputs (a number of hopper_support.cuh's Data)
//   hopper_check names
//   hopper_check once L [filter]          one launch, for profilers
//   hopper_check tiny [filter]            small shapes for compute-sanitizer; for racecheck, build with
//                                         -DATTN4J_ARRIVING_LANES=32 (docs/hopper.md, "Barriers")
#include <chrono>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "attention/fp8_wgmma/fp8_sparse.cuh"
#include "hopper_support.cuh"

namespace hopper {

// The library's policy with pauses of producer and consumers: orders that an undisturbed run never takes.
template <int D>
struct Delayed : WgmmaDensePolicy<D> {
  using Tiles = WgmmaAllTiles<Delayed>;
  static constexpr bool kRandomDelay = true;
};

template <int D>
struct DelayedListed : SparseWgmmaPolicy<D, false> {
  using Tiles = WgmmaListedTiles<DelayedListed>;
  static constexpr bool kRandomDelay = true;
};

// Asks before each half whether its exponentials matter, which the kernel of SpargeAttn does for low thresholds; looks
// for keys that add nothing besides, which that one does not.
template <int D>
struct Skipping : WgmmaPolicy<D> {
  using Tiles = WgmmaAllTiles<Skipping>;
  static constexpr bool kSkips = true;
};

// Never looks for keys that add nothing.
template <int D>
struct Unasking : WgmmaDensePolicy<D> {
  using Tiles = WgmmaAllTiles<Unasking>;
  static constexpr bool kLooks = false;
};

template <class P>
KernelEntry entry(const char* name) {
  int key_tile = P::kKeys;
  if constexpr (P::kListed) key_tile = P::kBlockKeys;
  KernelEntry e = make_entry<P::kHeadDim, DType::kFloat16>(name, P::kRows, key_tile, wgmma_launch<P, DType::kFloat16>);
  e.function = P::kListed ? Function::kSparse : Function::kInt8Fp8Sm90;
  return e;
}

std::vector<KernelEntry>& registry() {
  static std::vector<KernelEntry> entries = {
      WgmmaInt8Fp8<128, DType::kFloat16>::entry("d128/f16"),
      WgmmaInt8Fp8<96, DType::kFloat16>::entry("d96/f16"),
      WgmmaInt8Fp8<64, DType::kFloat16>::entry("d64/f16"),
      WgmmaInt8Fp8<128, DType::kBFloat16>::entry("d128/bf16"),
      WgmmaInt8Fp8<96, DType::kBFloat16>::entry("d96/bf16"),
      WgmmaInt8Fp8<64, DType::kBFloat16>::entry("d64/bf16"),
      SparseWgmmaInt8Fp8<128, DType::kFloat16>::entry("listed/d128"),
      SparseWgmmaInt8Fp8<64, DType::kFloat16>::entry("listed/d64"),
      entry<Skipping<128>>("skipping/d128"),
      entry<Unasking<128>>("unasking/d128"),
      entry<Unasking<96>>("unasking/d96"),
      entry<Unasking<64>>("unasking/d64"),
      entry<Delayed<128>>("delayed/d128"),
      entry<Delayed<96>>("delayed/d96"),
      entry<Delayed<64>>("delayed/d64"),
      entry<DelayedListed<128>>("delayed/listed128"),
      entry<DelayedListed<64>>("delayed/listed64"),
  };
  return entries;
}

bool matches(const KernelEntry& e, const char* filter) {
  if (filter == nullptr || *filter == 0) return true;
  std::string all = filter;
  for (size_t i = 0; i < all.size();) {
    const size_t j = std::min(all.find(',', i), all.size());
    const std::string one = all.substr(i, j - i);  // part of a name, or =name
    if (one[0] == '=' ? one.substr(1) == e.name : std::strstr(e.name, one.c_str()) != nullptr) return true;
    i = j + 1;
  }
  return false;
}

template <DType T>
bool compare(const KernelEntry& kernel, const Shape& shape, bool quiet) {
  Problem p(shape, kernel);
  p.run();
  check(cudaDeviceSynchronize(), shape.name);
  if (shape.lq == 0 || quiet) return true;
  std::vector<Sampled> rows;
  for (int i = 0; i < 512; i++) {
    const int last = shape.lq - 1;
    const int row = i < 32   ? std::min(i, last)
                    : i < 64 ? std::max(last - (i - 32), 0)
                             : static_cast<int>((i * 2654435761u) % shape.lq);
    rows.push_back({i % shape.b, static_cast<int>((i * 7u) % shape.hq), row});
  }
  Sampled* d_rows;
  float *d_out, *d_lse;
  check(cudaMalloc(&d_rows, rows.size() * sizeof(Sampled)), "malloc");
  check(cudaMalloc(&d_out, rows.size() * shape.d * 4), "malloc");
  check(cudaMalloc(&d_lse, rows.size() * 4), "malloc");
  check(cudaMemcpy(d_rows, rows.data(), rows.size() * sizeof(Sampled), cudaMemcpyHostToDevice), "copy");
  check(cudaFuncSetAttribute(reference<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, 200 * 1024), "smem");
  reference<T><<<rows.size(), 256, std::max(shape.lk, 1) * 4>>>(p.args, kernel.head_dim, d_rows, shape.from_images,
                                                                d_out, d_lse);
  check(cudaDeviceSynchronize(), "reference");
  std::vector<float> want(rows.size() * shape.d), want_lse(rows.size());
  check(cudaMemcpy(want.data(), d_out, want.size() * 4, cudaMemcpyDeviceToHost), "copy");
  check(cudaMemcpy(want_lse.data(), d_lse, want_lse.size() * 4, cudaMemcpyDeviceToHost), "copy");
  double ab = 0, aa = 0, bb = 0, difference = 0, size = 0, lse_error = 0;
  int bad = 0;
  std::vector<typename Element<T>::type> got(shape.d);
  for (size_t i = 0; i < rows.size(); i++) {
    const Strides& s = p.args.o_stride;
    const auto* o = static_cast<const typename Element<T>::type*>(p.args.o) + rows[i].batch * s.batch +
                    rows[i].head * s.head + rows[i].row * s.row;
    check(cudaMemcpy(got.data(), o, shape.d * 2, cudaMemcpyDeviceToHost), "copy");
    for (int c = 0; c < shape.d; c++) {
      const double x = static_cast<float>(got[c]), y = want[i * shape.d + c];
      if (!std::isfinite(x)) {
        bad++;
        continue;
      }
      ab += x * y, aa += x * x, bb += y * y, difference += std::fabs(x - y), size += std::fabs(y);
    }
    if (shape.lse) {
      float lse;
      check(cudaMemcpy(
                &lse,
                p.args.lse + (static_cast<int64_t>(rows[i].batch) * shape.hq + rows[i].head) * shape.lq + rows[i].row,
                4, cudaMemcpyDeviceToHost),
            "copy");
      if (std::isinf(want_lse[i]) ? lse != want_lse[i] : !(std::fabs(lse - want_lse[i]) < 1e30)) bad++;
      if (std::isfinite(want_lse[i]))
        lse_error = std::max(lse_error, static_cast<double>(std::fabs(lse - want_lse[i])));
    }
  }
  cudaFree(d_rows);
  cudaFree(d_out);
  cudaFree(d_lse);
  const double cosine = aa > 0 && bb > 0 ? ab / std::sqrt(aa * bb) : (aa == bb ? 1.0 : 0.0),
               l1 = size > 0 ? difference / size : difference;
  const bool ok = bad == 0 && cosine >= 0.999 && l1 <= 0.05 && lse_error < 0.2;
  std::printf("CHECK %-16s %-22s cos %.6f L1 %.5f lse %.4f bad %d %s\n", kernel.name, shape.name, cosine, l1, lse_error,
              bad, ok ? "ok" : "FAIL");
  return ok;
}

bool compare(const KernelEntry& kernel, const Shape& shape, bool quiet) {
  return kernel.dtype == DType::kFloat16 ? compare<DType::kFloat16>(kernel, shape, quiet)
                                         : compare<DType::kBFloat16>(kernel, shape, quiet);
}

int check_all(const char* filter) {
  int failures = 0;
  for (const KernelEntry& e : registry()) {
    if (!matches(e, filter)) continue;
    const int d = e.head_dim, t = e.key_tile;
    const Shape shapes[] = {
        {"randn 1024", 2, 4, 4, 1024, 1024, d},
        {"randn 1000", 2, 4, 4, 1000, 1000, d},
        {"randn 4096", 1, 16, 16, 4096, 4096, d},
        {"randn 16384", 1, 8, 8, 512, 16384, d},
        {"randn 32768", 1, 8, 8, 256, 32768, d},
        {"outlier 4096", 1, 4, 4, 4096, 4096, d, 0, false, false, true, true, Data::kOutlier},
        {"gqa nhd lengths", 4, 8, 2, 300, 777, d, 0, true, true},
        {"d-8 pad", 2, 3, 3, 200, 500, d - 8, 0, true},
        {"d-24 pad causal", 1, 3, 3, 200, 500, d - 24, 1},
        {"causal 2048", 1, 4, 4, 2048, 2048, d, 1},
        {"causal 1000 br", 1, 4, 2, 333, 1000, d, 2},
        {"causal lq>lk br", 1, 4, 2, 700, 333, d, 2},
        {"causal lengths", 3, 4, 2, 700, 700, d, 1, false, true},
        {"causal tiny", 1, 4, 4, 600, 600, d, 1, false, false, true, true, Data::kTiny},
        {"lk 1", 1, 2, 2, 65, 1, d},
        {"lk 77", 1, 2, 2, 200, 77, d},
        {"lq 1", 2, 2, 2, 1, t + 1, d, 2},
        {"negative scale", 1, 2, 2, 200, 500, d, 0, false, false, true, true, Data::kNormal, -0.1f},
        {"no smoothing", 1, 2, 2, 200, 500, d, 1, false, false, true, false},
        {"no lse", 1, 2, 2, 200, 500, d, 0, false, false, false},
        {"jumps", 1, 4, 4, 512, 2048, d, 0, false, false, true, true, Data::kJumps, 0.f, true},
        {"jumps x20", 1, 4, 4, 512, 2048, d, 0, false, false, true, true, Data::kJumps, 2.f, true},
        {"peaks", 1, 4, 4, 512, 2048, d, 0, false, false, true, true, Data::kFlatThenPeak, 0.f, true},
        {"peaks x50", 1, 4, 4, 512, 2048, d, 1, false, false, true, true, Data::kFlatThenPeak, 5.f, true},
        {"sink", 1, 4, 4, 256, 8192, d, 0, false, false, true, false, Data::kSink, 8.f / d, true},
        {"sink causal", 1, 4, 4, 8192, 8192, d, 1, false, false, true, false, Data::kSink, 8.f / d, true},
        {"local", 1, 4, 4, 2048, 8192, d, 0, false, false, true, true, Data::kLocal, 0.f, true},
        {"scattered", 1, 4, 4, 2048, 8192, d, 0, false, false, true, true, Data::kScattered, 0.f, true},
        {"scattered causal", 1, 4, 4, 4096, 4096, d, 1, false, false, true, true, Data::kScattered, 0.f, true},
        {"huge keys", 1, 4, 4, 512, 2048, d, 0, false, false, true, true, Data::kHuge, 2e-7f},
        {"lk 0", 1, 2, 2, 65, 0, d},
        {"split", 2, 10, 10, 4096, 4096, d},
        {"split lengths", 3, 4, 2, 300, 3000, d, 0, true, true},
        {"split sink", 1, 10, 10, 1024, 8192, d, 0, false, false, true, false, Data::kSink, 8.f / d, true},
        {"split jumps", 1, 4, 4, 500, 2048, d - 8, 0, false, false, true, true, Data::kJumps, 0.f, true},
    };
    for (const Shape& s : shapes) failures += !compare(e, s, false);
  }
  std::printf("%d failures\n", failures);
  return failures;
}

void repeat_all(int repeats, const char* filter) {
  for (const KernelEntry& e : registry()) {
    if (!matches(e, filter)) continue;
    const int l = 2048 - 64, d = e.head_dim;
    for (const Shape& s :
         {Shape{"all", 1, 32, 32, l, l, d}, Shape{"causal", 1, 32, 32, l, l, d, 1}, Shape{"split", 1, 10, 10, l, l, d},
          Shape{"scattered", 1, 16, 16, l, 6000, d, 0, false, false, true, true, Data::kScattered}}) {
      Problem p(s, e);
      p.run();
      uint32_t* first;
      int *count, different = 0, elements = 0;
      check(cudaMalloc(&first, p.o_words * 4), "malloc");
      check(cudaMalloc(&count, 4), "malloc");
      check(cudaMemcpy(first, p.args.o, p.o_words * 4, cudaMemcpyDeviceToDevice), "copy");
      for (int i = 0; i < repeats; i++) {
        check(cudaMemsetAsync(p.args.o, 0xff, p.o_words * 4), "poison");
        check(cudaMemsetAsync(count, 0, 4), "zero");
        p.poison_images();  // attention works beside the kernel that writes them
        p.run();
        count_differences<<<512, 256>>>(first, static_cast<uint32_t*>(p.args.o), p.o_words, count);
        int n;
        check(cudaMemcpy(&n, count, 4, cudaMemcpyDeviceToHost), "copy");
        different += n > 0, elements += n;
      }
      std::printf("REPEAT %-18s %-9s: %d of %d differ (%d words) %s\n", e.name, s.name, different, repeats, elements,
                  different ? "FAIL" : "ok");
      cudaFree(first);
      cudaFree(count);
    }
  }
}

// The bits of the kernels that look for keys which add nothing against those of the one that never looks.
int lossless_all(const char* filter) {
  int failures = 0;
  for (const KernelEntry& e : registry()) {
    // Lists put keys into other stages.
    if (!matches(e, filter) || e.dtype != DType::kFloat16 || e.function != Function::kInt8Fp8Sm90) continue;
    for (const KernelEntry& plain : registry()) {
      if (!std::strstr(plain.name, "unasking") || plain.head_dim != e.head_dim) continue;
      const int d = e.head_dim;
      for (Data data :
           {Data::kLocal, Data::kScattered, Data::kNormal, Data::kSink, Data::kJumps, Data::kFlatThenPeak}) {
        for (const Shape& s : {Shape{"all", 1, 16, 4, 4000, 6000, d}, Shape{"causal", 1, 8, 8, 5000, 5000, d, 1},
                               Shape{"split", 1, 10, 10, 2000, 8192, d}}) {
          Shape shape = s;
          shape.data = data;
          Problem a(shape, plain), b(shape, e);
          int n = 0, *count;
          check(cudaMalloc(&count, 4), "malloc");
          check(cudaMemset(count, 0, 4), "zero");
          a.run();
          b.run();
          count_differences<<<512, 256>>>(static_cast<uint32_t*>(a.args.o), static_cast<uint32_t*>(b.args.o), a.o_words,
                                          count);
          count_differences<<<512, 256>>>(reinterpret_cast<uint32_t*>(a.args.lse),
                                          reinterpret_cast<uint32_t*>(b.args.lse),
                                          static_cast<int64_t>(s.b) * s.hq * s.lq, count);
          check(cudaMemcpy(&n, count, 4, cudaMemcpyDeviceToHost), "copy");
          cudaFree(count);
          failures += n > 0;
          std::printf("LOSSLESS %-18s %-6s data %d: %d words differ %s\n", e.name, s.name, static_cast<int>(data), n,
                      n ? "FAIL" : "ok");
        }
      }
    }
  }
  std::printf("%d failures\n", failures);
  return failures;
}

void time_all(const char* lengths, const char* filter) {
  const int reps = std::getenv("REPS") ? std::atoi(std::getenv("REPS")) : 10;
  const bool with_causal = std::getenv("CAUSAL") != nullptr;
  for (int i = 0, next = 0; lengths[i]; i = next) {
    const int l = std::atoi(lengths + i);
    for (next = i; lengths[next] && lengths[next] != ','; next++) {
    }
    if (lengths[next]) next++;
    for (const KernelEntry& e : registry()) {
      if (!matches(e, filter)) continue;
      for (int causal = 0; causal <= (with_causal ? 1 : 0); causal++) {
        const int b = l > 8192 ? 2 : 4;
        Shape s = {"time", b, 32, 32, l, l, e.head_dim, causal, false, false, false};
        Problem p(s, e);
        p.run();
        const double work = 4.0 * b * 32 * static_cast<double>(l) * l * e.head_dim * (causal ? 0.5 : 1.0) * 1e-9;
        const float kernel = median_ms([&] { p.attend_again(); }, 2, reps);
        const float prepass = median_ms([&] { p.prepass(); }, 2, reps);
        const float both = median_ms([&] { p.run(); }, 2, reps);
        std::printf(
            "TIME %-16s B=%d H=32 L=%5d causal %d kernel %8.4f ms %7.1f TOPS  prepass %7.4f ms  e2e %8.4f ms %7.1f "
            "TOPS\n",
            e.name, b, l, causal, kernel, work / kernel, prepass, both, work / both);
      }
    }
  }
}

// All kernels of one length in turn, round after round, so that the state of the clocks is the same for all.
void race_all(const char* lengths, int rounds, const char* filter) {
  std::vector<int> all;
  for (const char* p = lengths; *p;) {
    all.push_back(std::atoi(p));
    while (*p && *p != ',') p++;
    if (*p) p++;
  }
  const int causal = std::getenv("CAUSAL") != nullptr;
  std::map<std::pair<std::string, int>, std::pair<double, double>> table;
  for (int l : all) {
    const int b = std::getenv("B") ? std::atoi(std::getenv("B")) : l > 8192 ? 2 : 4;
    const int h = std::getenv("H") ? std::atoi(std::getenv("H")) : 32;
    for (int d : {64, 96, 128}) {
      std::vector<const KernelEntry*> kernels;
      std::vector<std::unique_ptr<Problem>> problems;
      for (const KernelEntry& e : registry()) {
        if (!matches(e, filter) || e.head_dim != d) continue;
        if (std::strstr(e.name, "delayed")) continue;
        kernels.push_back(&e);
        Shape shape = {"race", b, h, h, l, l, d, causal, false, false, false};
        if (const char* data = std::getenv("DATA")) shape.data = static_cast<Data>(std::atoi(data));
        problems.push_back(std::make_unique<Problem>(shape, e));
        problems.back()->run();  // attention alone reads images that are there
      }
      std::vector<std::vector<float>> kernel(kernels.size()), both(kernels.size());
      for (int round = 0; round < rounds; round++) {
        for (size_t i = 0; i < kernels.size(); i++) {
          std::this_thread::sleep_for(std::chrono::milliseconds(15));
          Problem& p = *problems[i];
          kernel[i].push_back(median_ms([&] { p.attend_again(); }, 1, 3));
          std::this_thread::sleep_for(std::chrono::milliseconds(5));
          both[i].push_back(median_ms([&] { p.run(); }, 1, 3));
        }
      }
      const double work = 4.0 * b * h * static_cast<double>(l) * l * d * (causal ? 0.5 : 1.0) * 1e-9;
      for (size_t i = 0; i < kernels.size(); i++) {
        const auto median = [](std::vector<float>& x) {
          std::sort(x.begin(), x.end());
          return x[x.size() / 2];
        };
        const float k = median(kernel[i]), e = median(both[i]);
        std::printf("RACE %-14s B=%d H=%d L=%5d causal %d kernel %8.4f ms (%.4f..%.4f) %6.1f  e2e %8.4f ms %6.1f\n",
                    kernels[i]->name, b, h, l, causal, k, kernel[i].front(), kernel[i].back(), work / k, e, work / e);
        table[{kernels[i]->name, l}] = {work / k, work / e};
      }
    }
  }
  std::printf("TABLE causal %d, TOPS kernel / e2e\n%-14s", causal, "");
  for (int l : all) std::printf(" | %9d", l);
  std::printf("\n");
  for (const KernelEntry& e : registry()) {
    if (table.find({e.name, all[0]}) == table.end()) continue;
    std::printf("%-14s", e.name);
    for (int l : all) std::printf(" | %4.0f %4.0f", table[{e.name, l}].first, table[{e.name, l}].second);
    std::printf("\n");
  }
}

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const std::string mode = argc > 1 ? argv[1] : "check";
  if (mode == "check") return check_all(argc > 2 ? argv[2] : "");
  if (mode == "repeat") repeat_all(std::atoi(argv[2]), argc > 3 ? argv[3] : "");
  if (mode == "lossless") return lossless_all(argc > 2 ? argv[2] : "");
  if (mode == "time") time_all(argv[2], argc > 3 ? argv[3] : "");
  if (mode == "names") {
    for (const KernelEntry& e : registry()) std::printf("%s\n", e.name);
    return 0;
  }
  if (mode == "race") race_all(argv[2], std::atoi(argv[3]), argc > 4 ? argv[4] : "");
  for (const KernelEntry& e : registry()) {
    const int filter_at = mode == "once" ? 3 : 2;
    if (!matches(e, argc > filter_at ? argv[filter_at] : "")) continue;
    if (mode == "tiny") {
      compare(e, {"tiny", 1, 2, 1, 200, 2 * e.key_tile + 40, e.head_dim, 2, true}, false);
      compare(e, {"tiny lengths", 2, 2, 2, 130, 3 * e.key_tile, e.head_dim - 8, 0, false, true}, false);
      compare(e, {"tiny split", 1, 1, 1, 200, 1600, e.head_dim}, false);
      compare(e, {"tiny scattered", 1, 1, 1, 130, 4000, e.head_dim, 2, false, false, true, true, Data::kScattered},
              false);
    }
    if (mode == "once") {
      const int l = std::atoi(argv[2]);
      Problem p({"once", 1, 32, 32, l, l, e.head_dim, 0, false, false, false}, e);
      p.run();
      check(cudaDeviceSynchronize(), "once");
    }
  }
  return 0;
}

}  // namespace hopper

int main(int argc, char** argv) { return hopper::main(argc, argv); }
