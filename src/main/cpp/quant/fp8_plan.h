// How the Hopper path's quantisation is divided: the sizes of units, and which CTAs do what beside attention. Host code
// that needs no GPU. docs/hopper.md has the reasons and the measurements.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "../attention/fp8_wgmma/split.h"
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
  // To quantise a block of rows, or take its statistics, on one SM of an H100, in microseconds. If all SMs do it, the
  // memory is what limits them.
  static constexpr double kBlockMicroseconds = 0.85, kBlockMicrosecondsOfAll = 2.0;

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

  // The first heads by all CTAs, the others by `late` of them while attention works.
  static Fp8Schedule beside_attention(const Fp8Problem& p, const Fp8Machine& m, int32_t late) {
    return late > 0 ? schedule(p, m, early_heads(p, m), late) : all_before(p, m);
  }

  // Which items of attention are divided by keys, and how many CTAs quantise beside it: none if there is nothing to
  // gain.
  struct Division {
    WgmmaSplit split;
    int32_t late = 0;
  };
  static Division divide(const Fp8Problem& p, const Fp8Machine& m) {
    Division best;
    const int64_t items = heads(p) * p.group * items_per_head(p);
    best.split.items = best.split.whole = static_cast<int32_t>(items);
    if (p.lk == 0 || items == 0) return best;
    constexpr int64_t kRounds = 8;  // with fewer items per stream it matters how they fall into rounds
    const int64_t all_streams = int64_t{m.multiprocessors} * streams(p.head_dim);
    if (p.causal || items > kRounds * all_streams) {
      const int late = pace(p, m, 1.6);
      best.late = late > m.multiprocessors / 2 ? 0 : late;  // attention has little to hide it behind
      // When each stream ends is hard to tell: about half an item before the last one. Parts of the items that half of
      // the streams begin last even that out.
      constexpr int32_t kParts = 4;
      const int64_t room = WgmmaSplit::most_parts(items, streams(p.head_dim), p.lk, p.causal);
      if (p.lk >= kParts * WgmmaSplit::kLeastStages * WgmmaSplit::kStageKeys && room > 0) {
        best.split.whole -= static_cast<int32_t>(std::min(all_streams / 2, room / kParts));
        best.split.parts = kParts;
      }
    } else {
      best = divide_rounds(p, m, best.split);
    }
    if (best.late > 0 && early_heads(p, m) == heads(p)) best.late = 0;
    return best;
  }

 private:
  static int64_t ceil_div(int64_t x, int64_t y) { return (x + y - 1) / y; }
  static Divisor divisor(int64_t x) { return Divisor(static_cast<int32_t>(x)); }
  static int64_t heads(const Fp8Problem& p) { return int64_t{p.batch} * p.heads_kv; }
  static int32_t blocks_of(int64_t rows, const Fp8Problem& p) {
    return static_cast<int32_t>(ceil_div(rows, block_rows(p.head_dim)));
  }

  static Fp8Schedule schedule(const Fp8Problem& p, const Fp8Machine& m, int64_t early_heads, int late) {
    // Units that all wait for are short chains of blocks, so that no team's is long. Late ones are longer, since a unit
    // costs something by itself, but a head has enough of them for all that wait for it.
    constexpr int64_t kLeastBlocks = 2, kMostBlocks = 4, kLateBlocks = 8, kUnitsPerTeam = 3;
    const int64_t teams = int64_t{m.multiprocessors} * m.teams;
    const int64_t blocks = early_heads * (image_blocks(p) + key_blocks(p));
    const int64_t early_run = std::max(kLeastBlocks, std::min(kMostBlocks, blocks / (teams * kUnitsPerTeam)));
    Fp8Schedule s;
    s.early = section(p, 0, early_heads, early_run, teams);
    s.late = section(p, early_heads, heads(p) - early_heads,
                     key_blocks(p) >= 4 * kLateBlocks ? kLateBlocks : kLeastBlocks, int64_t{late} * m.teams);
    s.heads_kv = Divisor(p.heads_kv);
    s.late_ctas = s.late.heads > 0 ? late : 0;
    return s;
  }

  static Fp8Section section(const Fp8Problem& p, int64_t first_head, int64_t count, int64_t run, int64_t teams) {
    Fp8Section s;
    s.first_head = static_cast<int32_t>(first_head), s.heads = static_cast<int32_t>(count);
    s.run = static_cast<int32_t>(run);
    s.statistics = divisor(2 + ceil_div(ceil_div(p.lk, block_rows(p.head_dim)), run));
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

  // Blocks of a kv head: images, and the statistics of V.
  static double head_blocks(const Fp8Problem& p) {
    return (3.0 * p.lk + static_cast<double>(p.group) * p.lq) / block_rows(p.head_dim);
  }

  // Heads that attention begins with: its first items come from so many query heads; with a causal mask from a whole
  // section.
  static int64_t early_heads(const Fp8Problem& p, const Fp8Machine& m) {
    const int64_t first_items = int64_t{m.multiprocessors} * streams(p.head_dim);
    int64_t first_heads = ceil_div(first_items, std::max<int64_t>(1, items_per_head(p))) + 1;
    if (p.causal) first_heads = std::max(first_heads, std::min<int64_t>(first_items, p.section_heads));
    return std::min(heads(p), ceil_div(first_heads, p.group));
  }

  // CTAs that keep quantisation so many times faster than attention.
  static int pace(const Fp8Problem& p, const Fp8Machine& m, double lead) {
    const double quantisation = kBlockMicroseconds * head_blocks(p);
    const double attention = item_time(p) / streams(p.head_dim) * items_per_head(p) * p.group;
    return static_cast<int>(std::ceil(m.multiprocessors * lead * quantisation / (attention + lead * quantisation)));
  }

  // The division that ends first, of few items per stream. SMs that start late have a round less; that may cost
  // nothing, or a round for all. `whole` has no item split.
  static Division divide_rounds(const Fp8Problem& p, const Fp8Machine& m, const WgmmaSplit& whole) {
    const int sms = m.multiprocessors, per_sm = streams(p.head_dim);
    const int64_t all_streams = int64_t{sms} * per_sm;
    const double item = item_time(p);
    const double late_blocks = static_cast<double>(heads(p) - early_heads(p, m)) * head_blocks(p);
    // `late` streams of all come free at the time `start`.
    const auto finish = [&](const WgmmaSplit& split, int64_t late, double start) {
      StreamTimes times(all_streams, late, start);
      times.take(split.whole, item);
      const double stages = std::max(1., static_cast<double>(p.lk) / WgmmaSplit::kStageKeys);
      times.take(int64_t{split.split_items()} * split.parts,
                 item * (1. / split.parts + WgmmaSplit::kPartStages / stages));
      return times.end();
    };
    constexpr double kWorthwhile = 0.98;  // of the time of what was considered before: the simpler comes first
    Division best;
    double least = kInfiniteTime;
    const auto consider = [&](const WgmmaSplit& split, int late) {
      const double before = late == 0 ? kBlockMicrosecondsOfAll * late_blocks / sms : 0.;
      const auto end_if = [&](double longer) {  // than expected the late work takes
        const double start = late == 0 ? 0. : longer * kBlockMicroseconds * late_blocks / late;
        return before + finish(split, int64_t{late} * per_sm, start);
      };
      double end = end_if(1.0);
      if (end >= kWorthwhile * least) return;
      if (late > 0) end = (end + end_if(1.1) + end_if(1.25)) / 3;  // no plan that a small error ruins
      if (end < kWorthwhile * least) least = end, best = {split, late};
    };
    const int64_t room = WgmmaSplit::most_parts(whole.items, per_sm, p.lk, p.causal);
    const int64_t stages = p.lk / WgmmaSplit::kStageKeys;
    const int least_late = pace(p, m, 1.2);
    for (int late = 0; late <= sms / 2; late = late == 0 ? least_late : late + std::max(1, late / 10)) {
      if (late > 0 && late_blocks <= 0) break;
      consider(whole, late);
      // Whole items as long as all streams have one; what remains in parts.
      const double missed = late == 0 ? 0. : kBlockMicroseconds * late_blocks / late / item;  // rounds, by late streams
      int64_t rounds = whole.items / all_streams + 1, done = 0;
      do {
        rounds--;
        const int64_t of_late = std::max<int64_t>(0, static_cast<int64_t>(std::floor(rounds - missed)));
        done = (all_streams - int64_t{late} * per_sm) * rounds + int64_t{late} * per_sm * of_late;
      } while (done > whole.items);
      for (const int64_t split : {whole.items % all_streams, whole.items - done}) {
        for (int32_t parts = 2; parts <= WgmmaSplit::kMostParts; parts++) {
          if (split == 0 || split * parts > room || parts * WgmmaSplit::kLeastStages > stages) break;
          WgmmaSplit candidate = whole;
          candidate.whole -= static_cast<int32_t>(split), candidate.parts = parts;
          consider(candidate, late);
        }
      }
    }
    return best;
  }

  static constexpr double kInfiniteTime = 1e30;
};

}  // namespace attn4j
