// quant/fp8_schedule.h decides on the GPU who does what, and a unit waits for others: a mistake there would be a kernel
// that never ends. What makes waiting safe is checked here over random shapes.
#include "schedule.h"

#include <random>
#include <set>
#include <string>
#include <vector>

#include "../../main/cpp/quant/fp8_schedule.h"

namespace {

using attn4j::Divisor;
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
}
