// How the Hopper path's quantisation is divided: the sizes of units, and which CTAs do what beside attention. Host code
// that needs no GPU. docs/hopper.md has the reasons and the measurements.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "../attention/attend_wgmma_split.h"
#include "fp8_schedule.h"

namespace attn4j {

// What the plan depends on. Counts are of the whole problem, rows as they are padded in the images.
struct Fp8Problem {
  int32_t batch = 0, heads_kv = 0, group = 1;
  int32_t lq = 0, lk = 0, lq_padded = 0, lk_padded = 0;
  int32_t head_dim = 128;  // that the kernels are compiled for
  bool causal = false;
  int32_t section_heads = 0;  // query heads that attention works on together
};

struct Fp8Machine {
  int32_t multiprocessors = 0, teams = 1;  // teams of one CTA; a CTA of the pre-pass or of attention fills an SM
};

// Streams of work that take units in turn, each the next one as soon as it is free. Times in microseconds.
class StreamTimes {
 public:
  // All streams are free at 0 but for `late` ones, which are at the time `start`.
  StreamTimes(int64_t streams, int64_t late, double start) : groups_{{streams - late, 0}, {late, start}} {}

  void take(int64_t units, double length) {
    while (units > 0) {
      Group* next = nullptr;
      for (int i = 0; i < count_; i++) {
        if (groups_[i].streams > 0 && (next == nullptr || groups_[i].free < next->free)) next = &groups_[i];
      }
      const int64_t taken = std::min(units, next->streams);
      if (taken < next->streams && count_ < kGroups) groups_[count_++] = {next->streams - taken, next->free};
      units -= taken;
      *next = {taken, next->free + length};
      end_ = std::max(end_, next->free);
    }
  }
  double end() const { return end_; }  // of the last unit

 private:
  static constexpr int kGroups = 4;  // of streams with the same times: each take adds one at most
  struct Group {
    int64_t streams;
    double free;
  };
  Group groups_[kGroups];
  int count_ = 2;
  double end_ = 0;
};

class Fp8Plan {
 public:
  // To quantise a block of rows, or take its statistics, on one SM of an H100, in microseconds.
  static constexpr double kBlockMicroseconds = 0.9;

  static constexpr int32_t block_rows(int32_t head_dim) { return head_dim == 64 ? 256 : 128; }
  // Items of 128 queries that attention works on at once on one SM.
  static constexpr int32_t streams(int32_t head_dim) { return head_dim == 64 ? 2 : 1; }

  static int32_t key_blocks(const Fp8Problem& p) { return blocks_of(p.lk_padded, p); }
  static int32_t query_blocks(const Fp8Problem& p) { return blocks_of(p.lq_padded, p); }
  // Blocks of a kv head's images: of K, of V, and of Q of the heads that share it.
  static int32_t image_blocks(const Fp8Problem& p) { return 2 * key_blocks(p) + p.group * query_blocks(p); }

  // CTAs of the pre-pass: one per SM, or fewer if there is too little to do.
  static int32_t ctas(const Fp8Schedule& s, const Fp8Machine& m) {
    const int64_t busy = ceil_div(s.early.units(), m.teams);
    return static_cast<int32_t>(std::min<int64_t>(m.multiprocessors, std::max<int64_t>(busy, s.late_ctas)));
  }

  // Everything is quantised before what comes next.
  static Fp8Schedule all_before(const Fp8Problem& p, const Fp8Machine& m) { return schedule(p, m, heads(p), 0); }

  // The first heads by all CTAs, the others by late_ctas of them while attention works.
  static Fp8Schedule beside_attention(const Fp8Problem& p, const Fp8Machine& m) {
    // Attention's first items come from so many query heads; with a causal mask from a whole section.
    const int64_t first_items = int64_t{m.multiprocessors} * streams(p.head_dim);
    int64_t first_heads = ceil_div(first_items, std::max<int64_t>(1, items_per_head(p))) + 1;
    if (p.causal) first_heads = std::max(first_heads, std::min<int64_t>(first_items, p.section_heads));
    const int64_t early_heads = std::min(heads(p), ceil_div(first_heads, p.group));
    const int late = late_ctas(p, early_heads, m.multiprocessors);
    if (late == m.multiprocessors) return all_before(p, m);
    return schedule(p, m, early_heads, late);
  }

 private:
  static int64_t ceil_div(int64_t x, int64_t y) { return (x + y - 1) / y; }
  static Divisor divisor(int64_t x) { return Divisor(static_cast<int32_t>(x)); }
  static int64_t heads(const Fp8Problem& p) { return int64_t{p.batch} * p.heads_kv; }
  static int32_t blocks_of(int64_t rows, const Fp8Problem& p) {
    return static_cast<int32_t>(ceil_div(rows, block_rows(p.head_dim)));
  }

  static Fp8Schedule schedule(const Fp8Problem& p, const Fp8Machine& m, int64_t early_heads, int late) {
    // A unit's own cost, of waiting and telling, is that of about one block. But what all wait for must not become a
    // long chain in a few teams.
    constexpr int64_t kLeastBlocks = 2, kMostBlocks = 4, kUnitsPerTeam = 3;
    const int64_t teams = int64_t{m.multiprocessors} * m.teams;
    const int64_t blocks = early_heads * (image_blocks(p) + key_blocks(p));
    const int64_t early_run = std::max(kLeastBlocks, std::min(kMostBlocks, blocks / (teams * kUnitsPerTeam)));
    Fp8Schedule s;
    s.early = section(p, 0, early_heads, early_run, teams);
    // A head's units should be enough for all that wait for it.
    s.late = section(p, early_heads, heads(p) - early_heads, key_blocks(p) >= 32 ? kMostBlocks : kLeastBlocks,
                     int64_t{late} * m.teams);
    s.heads_kv = Divisor(p.heads_kv);
    s.late_ctas = s.late.heads > 0 ? late : 0;
    return s;
  }

  static Fp8Section section(const Fp8Problem& p, int64_t first_head, int64_t count, int64_t run, int64_t teams) {
    Fp8Section s;
    s.first_head = static_cast<int32_t>(first_head), s.heads = static_cast<int32_t>(count);
    s.run = static_cast<int32_t>(run);
    s.statistics = divisor(1 + ceil_div(ceil_div(p.lk, block_rows(p.head_dim)), run));
    s.kv_units = divisor(ceil_div(key_blocks(p), run));
    s.q_member_units = divisor(ceil_div(query_blocks(p), run));
    s.q_units = Divisor(s.q_member_units.value * p.group);
    // Rounds so large that every team has something to do between a head's statistics and its K and V.
    const int64_t heads = ceil_div(6 * teams / 5, std::max(1, s.image_units()));
    s.set_rounds(static_cast<int32_t>(std::max<int64_t>(1, std::min(count, heads))));
    return s;
  }

  static int64_t items_per_head(const Fp8Problem& p) { return ceil_div(p.lq, 128); }

  // Attention's work on one item, in microseconds, as measured on an H100.
  static double item_time(const Fp8Problem& p) {
    const double operations_per_sm = p.head_dim == 64 ? 5.0e6 : p.head_dim == 96 ? 5.5e6 : 6.6e6;
    const double operations = 4.0 * 128 * p.lk * p.head_dim * (p.causal ? 0.5 : 1.0);
    return operations * streams(p.head_dim) / operations_per_sm;
  }

  // When attention is done, with streams of which `late` start at the time `start` and the others at 0.
  static double finish(const WgmmaSplit& split, int64_t streams, int64_t late, double start, double item, int32_t keys) {
    StreamTimes times(streams, late, start);
    times.take(split.whole, item);
    const double stages = std::max(1, (keys + 127) / 128);
    times.take(int64_t{split.split_items()} * split.parts,
               item * (1. / split.parts + WgmmaSplit::kPartStages / stages));
    return times.end();
  }

  // How many CTAs quantise beside attention; all of them if there is nothing to gain. `early_heads` are done before.
  static int late_ctas(const Fp8Problem& p, int64_t early_heads, int sms) {
    if (p.lk == 0) return sms;
    const double blocks = (3.0 * p.lk + static_cast<double>(p.group) * p.lq) / block_rows(p.head_dim);  // of a kv head
    const int per_sm = streams(p.head_dim);
    const double item = item_time(p), quantisation = kBlockMicroseconds * blocks;
    const double attention = item / per_sm * items_per_head(p) * p.group;
    // CTAs that keep quantisation so many times faster than attention.
    const auto pace = [&](double lead) {
      return static_cast<int>(std::ceil(sms * lead * quantisation / (attention + lead * quantisation)));
    };
    constexpr int64_t kRounds = 8;  // with fewer items per stream it matters how they fall into rounds
    const int64_t heads = int64_t{p.batch} * p.heads_kv, all_streams = int64_t{sms} * per_sm;
    const int64_t items = heads * p.group * items_per_head(p);
    if (p.causal || items > kRounds * all_streams) {
      const int late = pace(1.6);
      return late > sms / 2 ? sms : late;  // attention has little to hide it behind
    }
    const WgmmaSplit split = WgmmaSplit::make(static_cast<int32_t>(items), static_cast<int32_t>(all_streams), per_sm,
                                              p.lk, 128, p.causal);
    // SMs that start late have a round less. That may cost nothing, or a round for all.
    const double late_work = std::max<int64_t>(0, heads - early_heads) * blocks * kBlockMicroseconds;
    double best = 0.98 * (late_work / sms + finish(split, all_streams, 0, 0, item, p.lk));
    int chosen = sms;
    for (int late = pace(1.2); late <= sms / 2; late += 4) {
      const auto end_if = [&](double longer) {  // than expected the late work takes
        return finish(split, all_streams, late * per_sm, longer * late_work / late, item, p.lk);
      };
      const double expected = end_if(1.0);
      if (expected >= best) continue;
      const double end = (expected + end_if(1.1) + end_if(1.25)) / 3;  // no plan that a small error ruins
      if (end < best) best = end, chosen = late;
    }
    return chosen;
  }
};

}  // namespace attn4j
