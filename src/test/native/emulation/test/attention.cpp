// Attention on the emulated GPU against fp64 (docs/emulation.md).
//
//   attention case KERNEL [NAME=VALUE...]     one case, as a failure prints it
//   attention random COUNT SEED KERNEL...     COUNT random cases of each kernel
//   attention packed COUNT SEED               COUNT random cases of packed sequences on exact_attn
//   attention hard KERNEL...                  hard data (docs/accuracy.md), held to a model of the rounding
//   attention nonfinite COUNT SEED KERNEL...  the same, each with a NaN or an infinity in q, k or v
//   attention divided COUNT SEED KERNEL...    the same with many keys on few SMs, so that items are divided by keys;
//                                             each twice, with the same bits
// KERNEL: exact, masked, int8_f16, int8_acc16, fp8, fp8_acc16, fp8_sm90, sage, sparse, spas, spas_topk; with /D,D...
// its head_dims are those and a little less. The exit status is 0 only if all cases hold.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "runtime/settings.h"
#include "test/packed.h"
#include "test/problem.h"

namespace emulation_test {
namespace {

// What a kernel's rounding may do.
struct Bars {
  double l1;       // of all elements together, relative
  double element;  // of one, relative to the sum of |weight value|
  double channel;  // and besides, relative to what the channel's values are on average
  double lse;
};

Bars bars_of(const Case& c, const std::string& kernel_name, double score_noise) {
  const double half = c.bf16 ? 0x1p-8 : 0x1p-11;  // largest relative error of a 16-bit number
  // Probabilities and the output are rounded, and what a reference moved by is exact.
  Bars bars{1.5 * half, 2.2 * half, 0, 5e-5};
  const bool fp8 = kernel_name.find("fp8") != std::string::npos;
  if (fp8 || kernel_name.find("int8") != std::string::npos) {
    bars.l1 += 0.5 * score_noise, bars.element += 6 * score_noise, bars.lse += 6 * score_noise;
  }
  // Half a step of e4m3 is a 16th at most, for probabilities and for V; they are 2.6 % on average.
  if (fp8) bars.l1 += 0.04, bars.element += 0.14, bars.channel = 0.14, bars.lse += 0.061;
  return bars;
}

// As bench/cpp/hard_check.cuh has it: 15 % above the model, and what truncating accumulators cost.
double hard_bar(const Case& c, const std::string& kernel_name, double model) {
  const bool fp8 = kernel_name.find("fp8") != std::string::npos;
  const double bar = 1.15 * model + (fp8 ? 0.0012 : 1e-4);
  if (!fp8) return bar;
  return c.hard == 1 ? std::min(bar, 0.025) : c.hard == 5 ? std::min(bar, 0.0012) : bar;
}

struct Verdict {
  int64_t not_finite = 0, should_not_be = 0, far = 0, lse_wrong = 0;
  double l1 = 0, worst = 0, worst_lse = 0;
};

Verdict judge(const Output& got, const Output& expected, const Bars& bars) {
  Verdict v;
  double error = 0, size = 0;
  for (size_t i = 0; i < got.o.size(); i++) {
    const bool finite = std::isfinite(expected.o[i]);
    v.not_finite += finite && !std::isfinite(got.o[i]);
    v.should_not_be += !finite && std::isfinite(got.o[i]);
    if (!finite || !std::isfinite(got.o[i])) continue;
    const double e = std::fabs(got.o[i] - expected.o[i]);
    // Probabilities of fp16 end at 2^-24; references stand up to 2^7 above where the largest lands.
    const double allowed =
        bars.element * expected.weighted[i] + bars.channel * expected.channel[i] + 0x1p-18 * expected.plain[i] + 1e-7;
    v.far += e > allowed;
    v.worst = std::max(v.worst, e / allowed);
    error += e, size += std::fabs(expected.o[i]);
  }
  v.l1 = size > 0 ? error / size : error;
  for (size_t i = 0; i < got.lse.size(); i++) {
    const double x = got.lse[i], y = expected.lse[i];
    const bool good = std::isfinite(y) ? std::fabs(x - y) <= bars.lse * std::max(1., 0.1 * std::fabs(y))
                      : y == -INFINITY ? x == y
                                       : !std::isfinite(x);
    v.lse_wrong += !good;
    if (std::isfinite(y)) v.worst_lse = std::max(v.worst_lse, std::fabs(x - y));
  }
  return v;
}

enum class Outcome { kHolds, kFails, kRefused, kLeftOut };

// Whether another run, of threads in another order, has the same bits.
bool repeats(const Case& c, const Output& got) {
  emulation::settings().seed++;
  Problem problem(c);
  Output again;
  const auto same = [](const std::vector<double>& x, const std::vector<double>& y) {
    return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof x[0]) == 0;
  };
  return problem.run(&again).empty() && same(got.o, again.o) && same(got.lse, again.lse);
}

// `parts`, if not null, is told of the CTAs that had parts of items, and wants the same bits twice.
Outcome run_case(const Case& c, bool talks, int64_t* parts = nullptr) {
  const auto started = std::chrono::steady_clock::now();
  Problem problem(c);
  Output got;
  const std::string error = problem.run(&got);
  if (error.compare(0, 8, "refused:") == 0) {
    if (talks) std::printf("%s: %s\n", c.text().c_str(), error.c_str());
    return Outcome::kRefused;
  }
  if (!error.empty()) {
    std::printf("FAILED %s: %s\n", c.text().c_str(), error.c_str());
    return Outcome::kFails;
  }
  if (parts != nullptr && (*parts = problem.parts()) > 0 && !repeats(c, got)) {
    std::printf("FAILED %s: has other bits the second time\n", c.text().c_str());
    return Outcome::kFails;
  }
  // Those of few queries give NaN, not 0, where an infinite query makes all of a row's scores -inf.
  if (c.odd == 1 && !talks && problem.kernel().find("exact_split") != std::string::npos) return Outcome::kLeftOut;
  const Output expected = problem.reference();
  Bars bars = bars_of(c, problem.kernel(), expected.score_noise);
  if (c.hard != 0) bars.l1 = hard_bar(c, problem.kernel(), expected.hard_model);
  const Verdict v = judge(got, expected, bars);
  const bool good = v.not_finite + v.should_not_be + v.far + v.lse_wrong == 0 && v.l1 <= bars.l1;
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  if (!good || talks) {
    std::printf(
        "%s %s [%s]: L1 %.5f of %.5f, an element %.2f of its bar, LSE %.5f; %ld too far, %ld LSE wrong, %ld not "
        "finite, %ld finite that should not be; %.2f s\n",
        good ? "ok" : "WRONG", c.text().c_str(), problem.kernel().c_str(), v.l1, bars.l1, v.worst, v.worst_lse, v.far,
        v.lse_wrong, v.not_finite, v.should_not_be, seconds);
  }
  return good ? Outcome::kHolds : Outcome::kFails;
}

class Dice {
 public:
  explicit Dice(uint32_t seed) : random_(seed) {}
  int64_t upto(int64_t most) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(most + 1)); }
  bool one_in(int64_t n) { return upto(n - 1) == 0; }
  template <class T>
  T of(std::initializer_list<T> values) {
    return *(values.begin() + upto(static_cast<int64_t>(values.size()) - 1));
  }

 private:
  std::mt19937_64 random_;
};

// Small shapes with sizes around those of tiles.
Case random_case(const std::string& kernel, const std::vector<int64_t>& head_dims, Dice& dice) {
  Case c;
  c.kernel = kernel;
  const auto rows = [&] {
    return std::max<int64_t>(1, dice.of({1, 16, 64, 128, 192, 256}) + dice.upto(20) - dice.of({0, 3, 10}));
  };
  c.d = dice.of({head_dims[static_cast<size_t>(dice.upto(static_cast<int64_t>(head_dims.size()) - 1))]});
  if (dice.one_in(6)) c.d -= dice.of({1, 8, 13, 24});
  c.b = dice.one_in(4) ? 2 : 1;
  c.hkv = dice.one_in(3) ? 2 : 1;
  c.hq = c.hkv * (dice.one_in(3) ? 2 : 1);
  c.lq = rows(), c.lk = dice.one_in(8) ? 500 + dice.upto(100) : rows();
  c.bf16 = dice.one_in(2), c.nhd = dice.one_in(2), c.lse = !dice.one_in(4), c.smooth_k = !dice.one_in(4);
  c.causal = static_cast<int>(dice.of({0, 0, 1, 2}));
  if (dice.one_in(3)) c.length = static_cast<int>(dice.upto(c.lk));
  c.granularity = static_cast<int>(dice.of({2, 2, 1, 0}));
  if (dice.one_in(6)) c.shift = static_cast<int>(dice.of({1, 4, 8}));
  if (dice.one_in(5)) c.scale = dice.of({-0.1f, 0.2f, 0.05f});
  c.sparse_share = static_cast<int>(dice.of({0, 30, 70, 100}));
  c.data = static_cast<int>(1 + dice.upto(100000));
  if (kernel == "fp8_sm90") c.granularity = 2;
  if (kernel == "masked") {
    c.seen = static_cast<int>(dice.upto(2)), c.bias = static_cast<int>(dice.of({0, 1, 2, 3}));
    if (dice.one_in(3)) c.left = dice.upto(c.lk + 2), c.prefix = dice.one_in(3) ? dice.upto(c.lk) : 0;
    if (dice.one_in(3)) c.right = dice.one_in(2) ? 0 : dice.upto(c.lk + 2);
    if (c.seen + c.bias == 0 && c.left + c.right < 0) c.seen = 1;
    for (const int dimension : {1, 2, 4, 8}) c.repeats += dice.one_in(dimension == 8 ? 8 : 3) ? dimension : 0;
    c.turned = dice.one_in(3), c.garbage = dice.one_in(3), c.shown = static_cast<int>(dice.of({0, 2, 50, 90, 99}));
  }
  const bool lists_keys = kernel.compare(0, 2, "sp") != 0 && kernel != "masked";
  if (lists_keys && (c.causal == 0 || kernel == "fp8_sm90") && dice.one_in(3)) {
    c.seen = 1, c.garbage = dice.one_in(2), c.shown = static_cast<int>(dice.of({0, 2, 50, 90, 99, 100}));
  }
  if (kernel.compare(0, 4, "spas") == 0 && dice.one_in(3)) {
    c.dense_head = static_cast<int>(dice.upto(c.hq - 1));
  }
  if (kernel.compare(0, 4, "spas") == 0 && dice.one_in(2)) {  // where no kernel reads one it is refused
    c.tokens = 1, c.causal = 0, c.length = -1, c.lk = c.lq, c.granularity = 2;
  }
  if (kernel == "spas_topk") c.sparse_share = std::max(c.sparse_share, 1);
  return c;
}

// Keys enough for parts, on a GPU that the items don't fill evenly.
void lengthen(Case* c, Dice& dice) {
  c->lq = std::max<int64_t>(c->lq, 129);  // fewer are another kernel's
  c->lk = 512 + dice.upto(900), c->sms = static_cast<int>(dice.of({2, 3, 4, 7}));
  if (!dice.one_in(8)) c->causal = 0;
  if (c->length >= 0) c->length = static_cast<int>(dice.upto(c->lk));
}

// One value that isn't finite.
void spoil(Case* c, Dice& dice) {
  c->odd = static_cast<int>(1 + dice.upto(2)), c->odd_value = static_cast<int>(1 + dice.upto(2));
  c->odd_row = static_cast<int>(dice.upto((c->odd == 1 ? c->lq : c->lk) - 1));
}

int random(int argc, char** argv) {
  const bool spoils = std::strcmp(argv[1], "nonfinite") == 0, divides = std::strcmp(argv[1], "divided") == 0;
  const int count = std::atoi(argv[2]), seed = std::atoi(argv[3]);
  std::vector<int64_t> head_dims;
  int failed = 0;
  for (int i = 4; i < argc; i++) {
    const std::string argument = argv[i];  // KERNEL[/D[,D...]]
    const size_t slash = argument.find('/');
    head_dims.clear();
    for (size_t at = slash; at != std::string::npos; at = argument.find(',', at + 1)) {
      head_dims.push_back(std::atoi(argument.c_str() + at + 1));
    }
    if (head_dims.empty()) head_dims = {64};
    Dice dice(static_cast<uint32_t>(seed));
    int held = 0, refused = 0, wrong = 0, left_out = 0, divided = 0;
    const auto started = std::chrono::steady_clock::now();
    for (int n = 0; n < count; n++) {
      Case c = random_case(argument.substr(0, slash), head_dims, dice);
      if (divides) lengthen(&c, dice);
      if (spoils || (divides && dice.one_in(4))) spoil(&c, dice);
      emulation::settings().seed = static_cast<uint64_t>(n % 3 == 0 ? 0 : c.data);
      int64_t parts = 0;
      const Outcome outcome = run_case(c, false, divides ? &parts : nullptr);
      divided += parts > 0;
      held += outcome == Outcome::kHolds, refused += outcome == Outcome::kRefused, wrong += outcome == Outcome::kFails;
      left_out += outcome == Outcome::kLeftOut;
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    std::printf("%s: %d cases hold, %d refused, %d wrong; %.1f s\n", argument.c_str(), held, refused, wrong, seconds);
    if (left_out > 0) std::printf("  %d left out: queries that aren't finite, few of them\n", left_out);
    if (divides) std::printf("  %d of them with divided items\n", divided);
    failed += wrong + (held == 0) + (divides && 2 * divided < count);
  }
  return failed == 0 ? 0 : 1;
}

int hard(int argc, char** argv) {
  constexpr int kTail = 1, kSinks = 2, kSmallSinks = 3, kLast = 10;
  int failed = 0, count = 0;
  for (int i = 2; i < argc; i++) {
    for (const int d : {64, 96, 128}) {
      for (int kind = kTail; kind <= kLast; kind++) {
        for (const int place : {0, 2}) {
          for (const float share : {0.6f, 0.9f}) {
            if (place == 0 && kind > kSmallSinks) continue;
            if (share > 0.8f && kind != kSinks && kind != kSmallSinks) continue;
            Case c;
            c.kernel = argv[i], c.hq = 1, c.lq = 160, c.lk = kind == kSmallSinks ? 8192 : 2048;
            c.d = d, c.hard = kind, c.place = place, c.share = share, c.bf16 = count % 2 == 1;
            count++, failed += run_case(c, true) != Outcome::kHolds;
          }
        }
      }
    }
  }
  std::printf("hard data: %d of %d hold\n", count - failed, count);
  return failed == 0 && count > 0 ? 0 : 1;
}

int one(int argc, char** argv) {
  Case c;
  c.kernel = argv[2];
  for (int i = 3; i < argc; i++) {
    if (c.set(argv[i])) continue;
    std::fprintf(stderr, "%s: is no NAME=VALUE of a case; docs/emulation.md lists the names\n", argv[i]);
    return 2;
  }
  return run_case(c, true) == Outcome::kHolds ? 0 : 1;
}

}  // namespace
}  // namespace emulation_test

int main(int argc, char** argv) {
  std::setvbuf(stdout, nullptr, _IOLBF, 0);
  const std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "case" && argc > 2) return emulation_test::one(argc, argv);
  if (mode == "hard" && argc > 2) return emulation_test::hard(argc, argv);
  if (mode == "packed" && argc > 3) return emulation_test::packed(argc, argv);
  if ((mode == "random" || mode == "nonfinite" || mode == "divided") && argc > 4) {
    return emulation_test::random(argc, argv);
  }
  std::fprintf(
      stderr,
      "attention case KERNEL [NAME=VALUE...] | attention random|nonfinite|divided COUNT SEED KERNEL[/D,...]...\n");
  return 2;
}
