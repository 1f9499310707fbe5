// quant/fp8_schedule.h decides on the GPU who does what, and a unit waits for others: a mistake there would be a kernel
// that never ends. What makes waiting safe is checked here over random shapes; and that the parts of divided items
// (attention/fp8_wgmma/split.h) cover each key once.
#include "schedule.h"

#include <algorithm>
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
using attn4j::Fp8Section;
using attn4j::Fp8Task;
using attn4j::Fp8Unit;
using attn4j::StreamTimes;
using attn4j::WgmmaSplit;
using attn4j::WgmmaStages;

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

constexpr int kTasks = 6;

void test_order(const Fp8Schedule& s, const std::string& name, Expect expect) {
  const int32_t heads = s.early.heads + s.late.heads;
  std::set<std::vector<int32_t>> seen;
  std::vector<int32_t> statistics(heads), previous(kTasks * heads, -1);
  bool in_range = true, in_section = true, after_statistics = true, ascending = true;
  for (int32_t u = 0; u < s.units(); u++) {
    const Fp8Unit unit = s.unit(u);
    in_range = in_range && unit.kv_head >= 0 && unit.kv_head < heads;
    if (!in_range) break;
    const Fp8Section& section = s.section(unit.kv_head);
    in_section = in_section && &section == (u < s.early_units() ? &s.early : &s.late);
    const int32_t counts[kTasks] = {
        1, 1, section.statistics.value - 2, section.q_units.value, section.kv_units.value, section.kv_units.value};
    const int32_t task = static_cast<int32_t>(unit.task);
    in_range = in_range && unit.index >= 0 && unit.index < counts[task];
    if (!in_range) break;
    seen.insert({task, unit.kv_head, unit.index});
    if (unit.task == Fp8Task::kMean || unit.task == Fp8Task::kVMean || unit.task == Fp8Task::kExtremes) {
      statistics[unit.kv_head]++;
    } else {  // K waits for its mean, V for its mean and extremes, Q, with an LSE, for the mean of K
      after_statistics = after_statistics && statistics[unit.kv_head] == section.statistics.value;
    }
    int32_t& last = previous[kTasks * unit.kv_head + task];
    ascending = ascending && unit.index == last + 1;
    last = unit.index;
  }
  expect(in_range, name + ": every unit exists");
  expect(in_section, name + ": all CTAs do the first heads");
  expect(static_cast<int32_t>(seen.size()) == s.units(), name + ": every unit comes once");
  expect(after_statistics, name + ": what waits comes after what it waits for");
  expect(ascending, name + ": the units of a head ascend");
}

// Every stage of every item is in one unit, whatever the items' lengths are.
void test_parts(const WgmmaSplit& split, const std::vector<int32_t>& stages, const std::string& name, Expect expect) {
  std::vector<std::vector<int32_t>> visits(split.items);
  for (int32_t i = 0; i < split.items; i++) visits[i].resize(stages[i]);
  bool in_range = true, long_enough = true;
  for (int32_t unit = 0; unit < split.units(); unit++) {
    const bool is_item = unit < split.items;
    const int32_t item = is_item ? unit : split.item(unit), part = is_item ? 0 : split.part(unit);
    in_range = in_range && item >= 0 && item < split.items && part >= 0 && part < split.parts;
    if (!in_range) break;
    WgmmaStages range{0, stages[item]};
    if (split.splits(item, stages[item])) {
      range = split.stages_of(part, stages[item]);
      long_enough = long_enough && range.count >= WgmmaSplit::kLeastStages;
    } else if (part > 0) {
      continue;
    }
    for (int32_t j = range.first; j < range.first + range.count; j++) visits[item].at(j)++;
  }
  bool once = true;
  for (const auto& item : visits)
    once = once && std::all_of(item.begin(), item.end(), [](int32_t n) { return n == 1; });
  expect(in_range, name + ": every unit is a part of an item");
  expect(once, name + ": every stage is visited once");
  expect(long_enough, name + ": no part is too short");
}

void test_splits(Expect expect) {
  std::mt19937 random(4);
  const auto below = [&](int32_t n) { return static_cast<int32_t>(random() % static_cast<uint32_t>(n)); };
  for (int i = 0; i < 300; i++) {
    WgmmaSplit split;
    split.items = 1 + below(300);
    split.parts = 1 + below(WgmmaSplit::kMostParts);
    split.whole = split.parts > 1 ? below(split.items + 1) : split.items;
    std::vector<int32_t> stages(split.items);
    for (int32_t& n : stages) n = below(3) == 0 ? below(8) : below(200);
    test_parts(split, stages, "split " + std::to_string(i), expect);
  }
}

// Against streams one by one.
void test_stream_times(Expect expect) {
  std::mt19937 random(5);
  const auto below = [&](int32_t n) { return static_cast<int32_t>(random() % static_cast<uint32_t>(n)); };
  bool right = true;
  for (int i = 0; i < 300; i++) {
    const int32_t streams = 1 + below(40), late = below(streams + 1);
    const double start = below(100), length[2] = {1. + below(50), 1. + below(20)};
    const int32_t units[2] = {below(200), below(100)};
    StreamTimes times(streams, late, start);
    std::vector<double> free(streams);
    std::fill(free.begin(), free.begin() + late, start);
    double end = 0;
    for (int k = 0; k < 2; k++) {
      times.take(units[k], length[k]);
      for (int32_t u = 0; u < units[k]; u++) {
        double& next = *std::min_element(free.begin(), free.end());
        next += length[k];
        end = std::max(end, next);
      }
    }
    right = right && times.end() == end;
  }
  expect(right, "StreamTimes ends when streams do that take units in turn");
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
    const Fp8Machine machine{one_of({16, 114, 132, 144}), one_of({2, 3})};
    const std::string name = "plan " + std::to_string(i);
    const Fp8Plan::Division division = Fp8Plan::divide(p, machine);
    const WgmmaSplit& split = division.split;
    const int32_t per_sm = Fp8Plan::streams(p.head_dim);
    expect(split.items == p.batch * p.heads_kv * p.group * ((p.lq + 127) / 128), name + ": items");
    expect(split.whole >= 0 && split.whole <= split.items && split.parts >= 1, name + ": split");
    expect(split.parts == 1 ||
               split.split_items() * split.parts <= WgmmaSplit::most_parts(split.items, per_sm, p.lk, p.causal),
           name + ": the workspace has room for all parts");
    expect(split.parts > 1 || split.split_items() == 0, name + ": one part is the whole");
    expect(division.late >= 0 && division.late <= machine.multiprocessors / 2, name + ": attention has SMs left");
    test_parts(split, std::vector<int32_t>(split.items, (p.lk + 127) / 128), name, expect);
    for (const int32_t late : {division.late, 0}) {
      const Fp8Schedule s = Fp8Plan::beside_attention(p, machine, late);
      const int32_t ctas = Fp8Plan::ctas(s, machine);
      expect(ctas >= 1 && ctas <= machine.multiprocessors, name + ": CTAs");
      expect(s.late_ctas <= ctas, name + ": late CTAs");
      expect((s.late_ctas > 0) == (s.late.units() > 0),
             name + ": late CTAs where there are late units, and only there");
      expect(s.early.heads + s.late.heads == p.batch * p.heads_kv, name + ": heads");
      test_order(s, name, expect);
    }
  }
}

// Room for parts doesn't grow with the GPU: the size of a workspace must not depend on it.
void test_large_gpu(Expect expect) {
  for (const int32_t head_dim : {64, 96, 128}) {
    const WgmmaSplit split = Fp8Plan::divide(problem(4, 32, 1, 4096, 4096, head_dim), {144, 3}).split;
    expect(split.parts > 1 && split.split_items() * split.parts <=
                                  WgmmaSplit::most_parts(split.items, Fp8Plan::streams(head_dim), 4096, false),
           "144 SMs: the workspace has room for all parts");
  }
}

// What docs/hopper.md says of problems that were measured on 132 SMs.
void test_measured_plans(Expect expect) {
  const auto divide = [](const Fp8Problem& p) { return Fp8Plan::divide(p, {132, 3}); };
  const Fp8Plan::Division full = divide(problem(4, 32, 1, 4096, 4096, 128));
  expect(full.late >= 14 && full.late <= 20, "B=4 H=32 L=4096: some 16 CTAs keep ahead of attention");
  expect(full.split.split_items() == 66 && full.split.parts == 4, "B=4 H=32 L=4096: half a round in parts");
  const Fp8Plan::Division sdxl = divide(problem(2, 10, 1, 4096, 4096, 64));
  expect(sdxl.late >= 18 && sdxl.late <= 20, "B=2 H=10 L=4096: a window of few CTAs");
  expect(sdxl.split.split_items() == 112 && sdxl.split.parts == 2, "B=2 H=10 L=4096: what two rounds leave, halved");
  const Fp8Plan::Division sd15 = divide(problem(2, 8, 1, 4096, 4096, 64));
  expect(sd15.late == 0 && sd15.split.parts == 1, "B=2 H=8 L=4096: two full rounds, no room for latecomers");
  const Fp8Plan::Division flux = divide(problem(1, 24, 1, 4608, 4608, 128));
  expect(flux.late >= 10 && flux.late <= 30 && flux.split.parts == 1,
         "B=1 H=24 L=4608: latecomers fill the last round");
  const Fp8Plan::Division few = divide(problem(1, 4, 1, 4096, 4096, 64));
  expect(few.late == 0 && few.split.split_items() == 128 && few.split.parts == 2, "B=1 H=4 L=4096: all items halved");
  Fp8Problem causal = problem(1, 24, 1, 4608, 4608, 128);
  causal.causal = true, causal.section_heads = 20;
  expect(divide(causal).split.parts == 1, "a causal mask: nothing is split");
}

}  // namespace

void test_schedule(Expect expect) {
  test_division(expect);
  std::mt19937 random(2);
  const auto below = [&](int32_t n) { return static_cast<int32_t>(random() % static_cast<uint32_t>(n)); };
  for (int i = 0; i < 300; i++) {
    Fp8Schedule s;
    s.early.heads = 1 + below(40), s.late.first_head = s.early.heads, s.late.heads = below(3) == 0 ? 0 : below(40);
    for (Fp8Section* section : {&s.early, &s.late}) {
      section->statistics = Divisor(2 + below(9));
      section->kv_units = Divisor(below(6) == 0 ? 0 : 1 + below(12));
      section->q_units = Divisor(1 + below(20));
      section->set_rounds(1 + below(std::max(1, section->heads)));
    }
    test_order(s, "schedule " + std::to_string(i), expect);
  }
  test_splits(expect);
  test_stream_times(expect);
  test_plans(expect);
  test_large_gpu(expect);
  test_measured_plans(expect);
}
