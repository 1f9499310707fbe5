// quant/fp8_schedule.h decides on the GPU who does what, and a unit waits for others: a mistake there would be a kernel
// that never ends. What makes waiting safe is checked here over random shapes.
#include "schedule.h"

#include <random>
#include <set>
#include <string>
#include <vector>

#include "../../main/cpp/quant/fp8_plan.h"

namespace {

using attn4j::Divisor;
using attn4j::Fp8Machine;
using attn4j::Fp8Plan;
using attn4j::Fp8Problem;
using attn4j::Fp8Schedule;
using attn4j::Fp8Task;
using attn4j::Fp8Unit;

void test_division(Expect expect) {
  std::mt19937 random(1);
  bool right = true;
  for (int32_t x : {1, 2, 3, 5, 7, 16, 100, 255, 256, 257, 65535, 65537, 1000003, 0x40000000, 0x7fffffff}) {
    const Divisor divisor(x);
    std::vector<int32_t> dividends = {0, 1, x - 1, x, 0x7ffffffe, 0x7fffffff};
    for (int i = 0; i < 1000; i++) dividends.push_back(static_cast<int32_t>(random() >> 1));
    for (int32_t y : dividends) right = right && divisor.quotient(y) == y / x;
  }
  expect(right, "Divisor divides like the processor");
}

void test_order(const Fp8Schedule& s, const std::string& name, Expect expect) {
  std::set<std::vector<int32_t>> seen;
  std::vector<int32_t> statistics(s.heads), previous(4 * s.heads, -1);
  bool in_range = true, after_statistics = true, ascending = true;
  for (int32_t u = 0; u < s.units(); u++) {
    const Fp8Unit unit = s.unit(u);
    const int32_t counts[] = {s.chunks.value, s.q_units.value, s.kv_units.value, s.kv_units.value};
    const int32_t task = static_cast<int32_t>(unit.task);
    in_range = in_range && unit.kv_head >= 0 && unit.kv_head < s.heads && unit.index >= 0 && unit.index < counts[task];
    if (!in_range) break;
    seen.insert({task, unit.kv_head, unit.index});
    if (unit.task == Fp8Task::kStatistics) statistics[unit.kv_head]++;
    // All of them wait for the head's statistics: K and V always, Q with an LSE.
    else
      after_statistics = after_statistics && statistics[unit.kv_head] == s.chunks.value;
    int32_t& last = previous[4 * unit.kv_head + task];
    ascending = ascending && unit.index == last + 1;
    last = unit.index;
  }
  expect(in_range, name + ": every unit exists");
  expect(static_cast<int32_t>(seen.size()) == s.units(), name + ": every unit comes once");
  expect(after_statistics, name + ": what waits comes after what it waits for");
  expect(ascending, name + ": the units of a head ascend");
}

Fp8Problem problem(int32_t batch, int32_t heads_kv, int32_t group, int32_t lq, int32_t lk, int32_t head_dim) {
  Fp8Problem p;
  p.batch = batch, p.heads_kv = heads_kv, p.group = group, p.lq = lq, p.lk = lk, p.head_dim = head_dim;
  p.lq_padded = (lq + 127) / 128 * 128, p.lk_padded = (lk + 127) / 128 * 128;
  return p;
}

void test_plans(Expect expect) {
  std::mt19937 random(3);
  const auto one_of = [&](const std::vector<int32_t>& list) { return list[random() % list.size()]; };
  for (int i = 0; i < 300; i++) {
    Fp8Problem p =
        problem(one_of({1, 2, 5}), one_of({1, 2, 10, 24}), one_of({1, 1, 4}), one_of({1, 77, 128, 1000, 4608}),
                one_of({0, 1, 77, 1000, 4096, 9000}), one_of({64, 96, 128}));
    p.causal = random() % 2 == 0;
    p.section_heads = one_of({1, 4, 20});
    const Fp8Machine machine{one_of({16, 114, 132}), one_of({2, 3})};
    for (const Fp8Schedule& s : {Fp8Plan::beside_attention(p, machine), Fp8Plan::all_before(p, machine)}) {
      const std::string name = "plan " + std::to_string(i);
      const int32_t ctas = Fp8Plan::ctas(s, machine);
      expect(ctas >= 1 && ctas <= machine.multiprocessors, name + ": CTAs");
      expect(s.late_ctas >= 1 && s.late_ctas <= ctas, name + ": late CTAs");
      expect(s.early_units >= 0 && s.early_units <= s.units(), name + ": early units");
      expect(s.chunks.value >= 1 && s.chunks.value <= Fp8Plan::kMaxChunks, name + ": chunks");
      test_order(s, name, expect);
    }
  }
}

// What docs/hopper.md says of problems that were measured on 132 SMs.
void test_measured_plans(Expect expect) {
  const auto late = [](const Fp8Problem& p) { return Fp8Plan::beside_attention(p, {132, 3}).late_ctas; };
  const int32_t full = late(problem(4, 32, 1, 4096, 4096, 128));
  expect(full >= 16 && full <= 30, "B=4 H=32 L=4096: some 20 CTAs keep ahead of attention");
  expect(late(problem(2, 8, 1, 4096, 4096, 64)) == 132,
         "B=2 H=8 L=4096: two full rounds of items leave no room for latecomers");
  expect(late(problem(1, 24, 1, 4608, 4608, 128)) == 60, "B=1 H=24 L=4608: half a round of slack has room for 60");
  expect(late(problem(4, 16, 1, 256, 256, 128)) > 66, "short sequences: attention has nothing to hide it behind");
}

}  // namespace

void test_schedule(Expect expect) {
  test_division(expect);
  std::mt19937 random(2);
  const auto below = [&](int32_t n) { return static_cast<int32_t>(random() % static_cast<uint32_t>(n)); };
  for (int i = 0; i < 300; i++) {
    Fp8Schedule s;
    s.heads = 1 + below(40);
    s.chunks = Divisor(1 + below(9));
    s.kv_units = Divisor(below(6) == 0 ? 0 : 1 + below(12));
    s.q_units = Divisor(1 + below(20));
    s.set_rounds(1 + below(s.heads));
    test_order(s, "schedule " + std::to_string(i), expect);
  }
  test_plans(expect);
  test_measured_plans(expect);
}
