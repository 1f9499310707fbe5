// Checks and times SpargeAttn of libattn4j.so through its public API.
//
//   nvcc -std=c++17 -O3 -arch=native -Isrc/main/cpp/include bench/cpp/sparse_gpu.cu -o sparse_gpu -L DIR -lattn4j
//   ./sparse_gpu check      seeded random shapes, masks and thresholds; exit status 0 only if all hold
//   ./sparse_gpu time       one JSON row per shape on stdout
//   ./sparse_gpu once       one call per length, for ncu: what each kernel of a call takes
//   ./sparse_gpu sanitize   a few small shapes, for compute-sanitizer
//   ./sparse_gpu hard       every block kept, on hard data (hard_check.cuh); HARD=name: only those data sets
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "hard_check.cuh"
#include "sparse_problem.cuh"

namespace {

using namespace attn4j_bench;

// ------------------------------------------------------------------------------------- the selection, written plainly

struct Pooled {
  std::vector<float> means, similarity;
};

Pooled pool(const Problem& p, const TensorView& x, int64_t heads, int64_t block, int64_t blocks, bool shifted) {
  Buffer means(p.c.b * heads * blocks * p.c.d * 4), similarity(p.c.b * heads * blocks * 4);
  std::unique_ptr<Buffer> shift;
  attn4j::BlockPoolParams pool;
  pool.x = x, pool.tensor_layout = p.c.layout, pool.block = block;
  pool.means = means.data(), pool.similarity = similarity.data();
  if (shifted) {
    const std::vector<float> values = p.k_shift();
    shift = std::make_unique<Buffer>(values.size() * sizeof(float));
    require(cudaMemcpy(shift->data(), values.data(), values.size() * sizeof(float), cudaMemcpyHostToDevice), "copy");
    pool.shift = shift->data();
  }
  if (attn4j::block_pool(pool, nullptr) != Status::kOk) std::printf("%s\n", attn4j::last_error());
  return {means.read<float>(), similarity.read<float>()};
}

// Differences between the reported map and a sort of the scores. Blocks whose fate hangs on the last digits of the
// cumulative mass or of a similarity (within 1e-5 of the threshold) may go either way, and so may rows of which a block
// does: the mass of the others depends on it.
int64_t selection_errors(const Problem& p, Function f, const std::vector<uint8_t>& map) {
  const Case& c = p.c;
  const Pooled q = pool(p, p.params.q, c.hq, p.grid.query_block, p.grid.query_blocks, false);
  const Pooled k = pool(p, p.params.k, c.hkv, p.grid.key_block, p.grid.key_blocks, c.smooth_k);
  const float scale = static_cast<float>(std::fabs(1.f / std::sqrt(static_cast<float>(c.d))) * 1.44269504088896f);
  int64_t errors = 0;
  for (int64_t row = 0; row < c.b * c.hq * p.grid.query_blocks; row++) {
    const int64_t block = row % p.grid.query_blocks, h = row / p.grid.query_blocks % c.hq;
    const int64_t b = row / p.grid.query_blocks / c.hq, kv = b * c.hkv + h / (c.hq / c.hkv);
    const int64_t n = p.visible(b, block);
    const auto value = [&](float x, float step) { return c.per_head ? x + step * static_cast<float>(h % 3) : x; };
    const float sim = value(c.sparsity.simthreshd1, 0.1f), topk = value(c.sparsity.topk, 0.05f);
    const float cdf = f == Function::kRank ? 0.f : value(c.sparsity.cdfthreshd, -0.1f);
    std::vector<int> ranked;
    std::vector<float> score(n);
    std::vector<char> expected(n, 0), open(n, 0);
    const bool all = !(q.similarity[row] > sim);
    bool unsure = std::fabs(q.similarity[row] - sim) < 1e-5;
    for (int64_t j = 0; j < n; j++) {
      float s = 0.f;
      for (int64_t i = 0; i < c.d; i++) {
        s = std::fmaf(k.means[(kv * p.grid.key_blocks + j) * c.d + i], q.means[row * c.d + i], s);
      }
      score[j] = s * scale;
      unsure |= std::fabs(k.similarity[kv * p.grid.key_blocks + j] - sim) < 1e-5;
      if (k.similarity[kv * p.grid.key_blocks + j] > sim && std::isfinite(score[j])) {
        ranked.push_back(static_cast<int>(j));
      } else {
        expected[j] = 1;
      }
      if (all) expected[j] = 1;
    }
    if (unsure) continue;
    std::stable_sort(ranked.begin(), ranked.end(), [&](int x, int y) { return score[x] > score[y]; });
    double sum = 0, cumulative = 0;
    for (int j : ranked) sum += std::exp2(static_cast<double>(score[j]) - score[ranked[0]]);
    const int64_t total = (std::max(p.lengths[b], 0) + p.grid.key_block - 1) / p.grid.key_block;
    const auto least = std::max<int64_t>(1, static_cast<int64_t>(std::floor(topk * static_cast<float>(total))));
    for (size_t i = 0; i < ranked.size(); i++) {
      cumulative += std::exp2(static_cast<double>(score[ranked[i]]) - score[ranked[0]]) / sum;
      const bool by_rank = static_cast<int64_t>(i) < least;
      if (by_rank || cdf >= 1.f || cumulative <= cdf) expected[ranked[i]] = 1;
      open[ranked[i]] = !by_rank && cdf < 1.f && std::fabs(cumulative - cdf) < 1e-5;
    }
    if (c.sparsity.attention_sink && n > 0) expected[0] = 1;
    for (int64_t j = 0; j < p.grid.key_blocks; j++) {
      const int found = map[row * p.grid.key_blocks + j];
      errors += j < n ? found != expected[j] && !(open[j] && !all) : found != 0;
    }
  }
  return errors;
}

// ------------------------------------------------------------------------------------------------------------- checks

// The map against the caller's mask, and the sparsity against the map.
int64_t map_errors(const Problem& p, Function f, const std::vector<uint8_t>& map) {
  const std::vector<uint8_t> mask = p.mask->read<uint8_t>();
  const std::vector<float> share = p.share->read<float>();
  int64_t errors = 0;
  for (int64_t head = 0; head < p.c.b * p.c.hq; head++) {
    int64_t kept = 0, seen = 0;
    for (int64_t block = 0; block < p.grid.query_blocks; block++) {
      const int64_t n = p.visible(head / p.c.hq, block),
                    first = (head * p.grid.query_blocks + block) * p.grid.key_blocks;
      seen += n;
      for (int64_t j = 0; j < p.grid.key_blocks; j++) {
        const int found = map[first + j];
        kept += found;
        errors += found > 1 || (j >= n && found != 0);
        if (f != Function::kMask || j >= n) continue;
        errors += found != (mask[first + j] != 0 || (p.c.sparsity.attention_sink && j == 0));
      }
    }
    const double expected = seen > 0 ? 1.0 - static_cast<double>(kept) / static_cast<double>(seen) : 0.0;
    errors += !(std::fabs(share[head] - expected) < 1e-6);
  }
  return errors;
}

bool check(Function f, const Case& c, uint64_t seed) {
  Problem p(c);
  p.fill(seed);
  if (!p.run(f)) {
    c.print(f);
    std::printf("\n");
    return false;
  }
  require(cudaDeviceSynchronize(), kFunctionNames[static_cast<int>(f)]);
  const std::vector<uint8_t> map = p.map->read<uint8_t>();
  const int64_t wrong_map = map_errors(p, f, map);
  const int64_t wrong_blocks = f == Function::kMask || c.lengths || c.lk == 0 ? 0 : selection_errors(p, f, map);
  const Accuracy a = p.compare(std::max<int64_t>(1, c.b * c.hq * c.lq / 2000), true);
  const double l1 = a.ref1 > 0 ? a.error1 / a.ref1 : a.error1;
  // The bounds of the dense kernel (attn_gpu.cu). Skipping P V where scores stay t below the maximum costs a row at
  // most lk * 2^-t of its weight. Clustered rows have about twice the scores of N(0, 1) ones; the others' keys have
  // channel offsets of 2 N(0, 1), which make them, and so the steps of INT8, sqrt(5) times as large unless smoothed
  // away.
  const double t = c.sparsity.pvthreshd, skipped = static_cast<double>(c.lk) * std::exp2(-t);
  // FP8 adds the rounding of P and V, 2.6 % each of every value.
  const double sharpness = c.clustered ? 2 : c.smooth_k ? 1 : std::sqrt(5.0);
  const double l1_bound = c.fp8 ? 0.045 : 0.02, max_bound = c.fp8 ? 0.5 : 0.2;
  const bool close = l1 <= l1_bound * sharpness + skipped || a.max_error <= 0.1 * max_bound;
  const bool ok = wrong_map == 0 && wrong_blocks == 0 && a.bad == 0 && close &&
                  a.max_error <= max_bound * sharpness + 4 * skipped && a.max_lse_error <= 0.08 * sharpness + skipped &&
                  p.intact();
  if (!ok) {
    std::printf("  WRONG ");
    c.print(f);
    std::printf(": map %ld blocks %ld L1 %.5f max %.5f lse %.5f bad %llu intact %d\n", wrong_map, wrong_blocks, l1,
                a.max_error, a.max_lse_error, a.bad, p.intact());
  }
  return ok;
}

Case random_case(std::mt19937_64& random, Function f) {
  const int64_t lengths[] = {1, 7, 63, 64, 65, 127, 128, 129, 200, 1000, 1500, 3000};
  const int64_t dims[] = {8, 40, 64, 72, 80, 96, 112, 128, 33};
  const auto pick = [&](auto& list) { return list[random() % (sizeof list / sizeof list[0])]; };
  Case c;
  c.b = 1 + random() % 3, c.hkv = 1 + random() % 2;
  const int64_t groups[] = {1, 1, 3};
  c.hq = c.hkv * pick(groups);
  c.lq = pick(lengths), c.lk = random() % 25 == 0 ? 0 : pick(lengths), c.d = pick(dims);
  c.dtype = random() % 2 ? DType::kFloat16 : DType::kBFloat16;
  c.layout = random() % 2 ? TensorLayout::kHND : TensorLayout::kNHD;
  c.causal = random() % 3;
  const int64_t shifts[] = {0, 0, 8, 1};
  c.shift = pick(shifts);
  c.lse = random() % 2, c.lengths = random() % 4 == 0, c.smooth_k = random() % 4 != 0;
  c.clustered = random() % 4 != 0, c.per_head = random() % 4 == 0;
  const double densities[] = {0, 0.1, 0.5, 1};
  c.density = pick(densities);
  const float similarities[] = {-1.f, -0.1f, 0.3f, 0.6f}, masses[] = {0.f, 0.5f, 0.9f, 0.97f, 1.f};
  const float topks[] = {0.01f, 0.1f, 0.5f, 1.f}, skips[] = {15.f, 50.f, INFINITY};
  c.sparsity.simthreshd1 = pick(similarities), c.sparsity.cdfthreshd = pick(masses);
  c.sparsity.topk = f == Function::kRank || random() % 4 == 0 ? pick(topks) : 0.f;
  c.sparsity.pvthreshd = pick(skips);
  c.sparsity.attention_sink = random() % 4 == 0;
  return c;
}

// Keeping everything must give what dense attention gives: bit for bit if the dense function runs the same kernel, else
// (on Hopper) within what two roundings of an output may differ, 2^-10 of it in fp16 and 2^-7 in bf16.
int check_dense_equality(bool fp8) {
  int failed = 0, bitwise = 0, count = 0;
  for (const int64_t d : {64, 96, 128}) {
    for (const int causal : {0, 1, 2}) {
      for (const Function f : {Function::kMass, Function::kRank, Function::kMask}) {
        Case c;
        // Even and odd numbers of blocks: a stage holds two or three. Long ones without a causal mask: their items are
        // divided by keys.
        const int64_t keys = f == Function::kRank ? 2100 : f == Function::kMask ? 1111 : 1000;
        c.b = 2, c.hq = 4, c.hkv = 2, c.lq = 900, c.lk = keys, c.d = d, c.causal = causal, c.clustered = true,
        c.density = 1;
        c.dtype = d == 96 ? DType::kBFloat16 : DType::kFloat16;
        c.fp8 = fp8;
        c.sparsity.simthreshd1 = -1.f, c.sparsity.cdfthreshd = 1.f, c.sparsity.topk = 1.f;
        c.sparsity.pvthreshd = INFINITY;
        Problem p(c);
        p.fill(77);
        if (!p.run(f)) return 1;
        const std::vector<uint16_t> sparse = p.o->read<uint16_t>();
        const std::vector<float> share = p.share->read<float>(), sparse_lse = p.lse->read<float>();
        p.o->poison(), p.lse->poison();
        if (!p.run(Function::kDense)) return 1;
        const std::vector<uint16_t> dense = p.o->read<uint16_t>();
        const std::vector<float> dense_lse = p.lse->read<float>();
        double error = 0, norm = 0;
        for (size_t i = 0; i < dense.size(); i++) {
          const auto value = [&](uint16_t x) {
            return c.dtype == DType::kFloat16 ? __half2float(__ushort_as_half(x))
                                              : __bfloat162float(__ushort_as_bfloat16(x));
          };
          error += std::fabs(value(sparse[i]) - value(dense[i])), norm += std::fabs(value(dense[i]));
        }
        count++, bitwise += sparse == dense && sparse_lse == dense_lse;
        const bool none_left_out = std::all_of(share.begin(), share.end(), [](float x) { return x == 0.f; });
        const double rounding = c.dtype == DType::kFloat16 ? 1e-3 : 8e-3;
        if (error <= rounding * norm && none_left_out) continue;
        failed++;
        std::printf("  UNEQUAL %s d=%ld causal=%d: %g\n", kFunctionNames[static_cast<int>(f)], d, causal, error / norm);
      }
    }
  }
  std::printf("keep everything: %d of %d equal dense (%d bit for bit)\n", count - failed, count, bitwise);
  return failed;
}

int check_repeats(bool fp8) {
  Case c;
  c.fp8 = fp8;
  c.b = 2, c.hq = 8, c.hkv = 4, c.lq = 1700, c.lk = 2111, c.d = 128, c.causal = 2, c.clustered = true;
  Problem p(c);
  p.fill(5);
  std::vector<uint16_t> first;
  std::vector<uint8_t> first_map;
  int different = 0;
  for (int i = 0; i < 200; i++) {
    p.o->poison(), p.map->poison();
    if (p.workspace != nullptr) p.workspace->poison();
    if (!p.run(Function::kMass)) return 1;
    if (i == 0) {
      first = p.o->read<uint16_t>(), first_map = p.map->read<uint8_t>();
    } else {
      different += first != p.o->read<uint16_t>() || first_map != p.map->read<uint8_t>();
    }
  }
  std::printf("%d of 199 repeats differ\n", different);
  return different;
}

// Whether this library's SpargeAttn has an FP8 kernel.
bool has_fp8() {
  attn4j::AttentionParams any;
  for (TensorView* t : {&any.q, &any.k, &any.v, &any.o}) {
    t->data = reinterpret_cast<void*>(256);  // nothing is read
    for (int i = 0; i < 4; i++) t->size[i] = 64, t->stride[i] = 1;
    t->size[0] = t->size[1] = 1, t->stride[2] = 64, t->stride[1] = t->stride[0] = 4096;
  }
  any.o.data = reinterpret_cast<void*>(1 << 20);
  return attn4j::sageattn_qk_int8_pv_fp8_cuda_sm90_workspace_size(any) >= 0;
}

int check_all(int count) {
  int failed = 0;
  for (const bool fp8 : {true, false}) {
    if (fp8 && !has_fp8()) continue;
    for (const Function f : {Function::kMask, Function::kMass, Function::kRank}) {
      std::mt19937_64 random(20261124);
      int wrong = 0;
      for (int i = 0; i < count; i++) {
        Case c = random_case(random, f);
        c.fp8 = fp8;
        wrong += !check(f, c, 100 + i);
      }
      std::printf("%s %s: %d passed, %d failed\n", kFunctionNames[static_cast<int>(f)], fp8 ? "fp8" : "f16",
                  count - wrong, wrong);
      std::fflush(stdout);
      failed += wrong;
    }
    failed += check_dense_equality(fp8) + check_repeats(fp8);
  }
  return failed;
}

// ------------------------------------------------------------------------------------------------------------- timing

double time_us(Problem& p, Function f, int repeats) {
  cudaEvent_t start, end;
  require(cudaEventCreate(&start), "event");
  require(cudaEventCreate(&end), "event");
  std::vector<float> times;
  for (int i = 0; i <= repeats; i++) {
    require(cudaEventRecord(start), "event");
    if (!p.run(f)) return NAN;
    require(cudaEventRecord(end), "event");
    require(cudaEventSynchronize(end), "event");
    float ms;
    require(cudaEventElapsedTime(&ms, start, end), "event");
    if (i > 0) times.push_back(ms * 1000);
  }
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  return times[times.size() / 2];
}

void time_row(Function f, const Case& c, const std::string& what) {
  Problem p(c);
  p.fill(3);
  const double operations = 4.0 * c.b * c.hq * c.lq * c.lk * c.d, us = time_us(p, f, c.lk > 10000 ? 3 : 7);
  double share = 0;
  if (f != Function::kDense) {
    for (const float x : p.share->read<float>()) share += x / (c.b * c.hq);
  }
  std::printf("{\"what\": \"%s\", \"d\": %ld, \"l\": %ld, \"us\": %.1f, \"tops\": %.1f, \"sparsity\": %.4f",
              what.c_str(), c.d, c.lk, us, operations / us * 1e-6, share);
  if (f == Function::kMass) {
    const Accuracy a = p.compare(c.b * c.hq * c.lq / 200, false);
    std::printf(", \"l1_to_exact\": %.5f", a.error1 / a.ref1);
  }
  std::printf("}\n");
  std::fflush(stdout);
}

void time_all() {
  for (const int64_t d : {128, 64}) {
    for (const int64_t l : {8192, 32768}) {
      Case c;
      c.fp8 = has_fp8();
      c.hq = c.hkv = 32, c.lq = c.lk = l, c.d = d, c.lse = false;
      time_row(Function::kDense, c, c.fp8 ? "dense int8_fp8" : "dense int8_f16");
      c.sparsity.pvthreshd = 50.f;
      for (const double sparsity : {0.0, 0.5, 0.75, 0.9}) {
        c.density = 1 - sparsity;
        time_row(Function::kMask, c, "random block mask " + std::to_string(sparsity).substr(0, 4));
      }
      c.clustered = true, c.sparsity.simthreshd1 = -0.1f;
      for (const float topk : {1.f, 0.5f, 0.25f, 0.1f}) {
        c.sparsity.topk = topk;
        time_row(Function::kRank, c, "topk " + std::to_string(topk).substr(0, 4) + ", clustered");
      }
      c.sparsity = SparsityParams();
      time_row(Function::kMass, c, "defaults, clustered");
    }
  }
}

void run_once() {
  for (const int64_t l : {8192, 32768}) {
    Case c;
    c.fp8 = has_fp8();
    c.hq = c.hkv = 32, c.lq = c.lk = l, c.d = 128, c.lse = false, c.clustered = true;
    c.sparsity.simthreshd1 = -0.1f, c.sparsity.topk = 0.1f;
    Problem p(c);
    p.fill(3);
    p.run(Function::kRank);
    require(cudaDeviceSynchronize(), "once");
  }
}

void sanitize() {
  for (const bool fp8 : {true, false}) {
    if (fp8 && !has_fp8()) continue;
    for (const Function f : {Function::kMask, Function::kMass, Function::kRank}) {
      for (const int64_t d : {40, 64, 96, 128}) {
        Case c;
        c.fp8 = fp8;
        c.hq = 2, c.lq = 300, c.lk = 401, c.d = d, c.causal = d == 96 ? 2 : d == 128, c.clustered = true,
        c.shift = d == 40;
        c.sparsity.topk = 0.5f, c.sparsity.simthreshd1 = 0.f, c.per_head = d == 128;
        // On Hopper, items that are divided by keys.
        if (f == Function::kMask && c.causal == 0) c.lk = 1601, c.density = 1;
        Problem p(c);
        p.fill(11);
        p.run(f);
        require(cudaDeviceSynchronize(), kFunctionNames[static_cast<int>(f)]);
      }
    }
  }
}

// With the default threshold of P V, and with one so low that another kernel runs: it skips what weighs less than
// 2^-14.
int hard() {
  int failed = 0;
  for (const bool fp8 : {true, false}) {
    if (fp8 && !has_fp8()) continue;
    for (const float threshold : {50.f, 14.f}) {
      SparsityParams all;
      all.simthreshd1 = -1.f, all.cdfthreshd = 1.f, all.topk = 1.f, all.pvthreshd = threshold;
      const auto request = [=](AttentionParams p) {
        p.pv_accum_dtype = fp8 ? attn4j::PvAccumDType::kFp32Fp32 : attn4j::PvAccumDType::kFp32;
        return p;
      };
      HardKernel kernel;
      kernel.name = std::string("sparse ") + (fp8 ? "fp8" : "f16") + (threshold < 15.f ? ", skips" : "");
      kernel.size = [=](const AttentionParams& p) {
        return attn4j::spas_sage2_attn_meansim_cuda_workspace_size(request(p), all);
      };
      kernel.run = [=](const AttentionParams& p, const attn4j::Workspace& w) {
        return attn4j::spas_sage2_attn_meansim_cuda(request(p), all, w, nullptr);
      };
      kernel.kind = fp8 ? HardKernel::Kind::kFp8 : HardKernel::Kind::kInt8, kernel.key_group = fp8 ? 8 : 64;
      // A tail that is skipped on purpose has no bar.
      failed += hard_check(kernel, threshold < 15.f ? "special" : "");
    }
  }
  return failed;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "check") return check_all(argc > 2 ? std::atoi(argv[2]) : 100) == 0 ? 0 : 1;
  if (mode == "time") time_all();
  if (mode == "once") run_once();
  if (mode == "sanitize") sanitize();
  if (mode == "hard") return hard() == 0 ? 0 : 1;
  return 0;
}
