// The order of the Hopper path's quantisation, which runs ahead of attention and beside it.
//
// The work is cut into units of a few blocks of rows, listed head by head in the order in which attention takes the
// heads. All CTAs of the pre-pass share the units of the first heads. Then most of them end and leave their SMs to
// attention; `late_ctas` stay and do the rest while attention already works. Attention waits for the first heads, so
// their units are small; those of the others may be as large as is cheapest. A unit waits only for units before it, and
// a team takes its units in ascending order: whatever the CTAs' order of arrival, the lowest unfinished unit can go on.
#pragma once

#include <cstdint>

#include "../device/host_device.h"

namespace attn4j {

// Division by a number that is known on the host, for dividends below 2^31: a multiplication and a shift.
struct Divisor {
  int32_t value = 1;
  uint32_t factor = 0, shift = 0;

  Divisor() = default;
  explicit Divisor(int32_t x) : value(x) {  // factor = ceil(2^(31 + shift) / x), 2^shift >= x
    if (x == 0) return;
    while ((int64_t{1} << shift) < x) shift++;
    factor = static_cast<uint32_t>(((uint64_t{1} << (31 + shift)) + x - 1) / static_cast<uint64_t>(x));
  }
  ATTN4J_HOST_DEVICE int32_t quotient(int32_t y) const {
    return static_cast<int32_t>((static_cast<uint64_t>(static_cast<uint32_t>(y)) * factor) >> 31 >> shift);
  }
};

// The mean of a head's K, and of its V; the extremes of some of its V; the images.
enum class Fp8Task : int32_t { kMean, kVMean, kExtremes, kQ, kK, kV };

struct Fp8Unit {
  Fp8Task task;
  int32_t kv_head;  // over the batch
  int32_t index;    // of the task's units of this head
};

// Consecutive kv heads whose units are of the same size.
struct Fp8Section {
  // Units per kv head.
  Divisor statistics, kv_units, q_units;  // means and V's extremes; K, and as many of V; Q, all heads of the group
  Divisor q_member_units;                 // Q of one query head
  int32_t run = 1;                        // blocks of rows of a unit
  int32_t first_head = 0, heads = 0;      // kv heads
  int32_t round_heads = 1;                // of a round
  Divisor per_round;                      // units of a round
  int32_t last_start = 0;                 // first unit of the last round

  int32_t image_units() const { return 2 * kv_units.value + q_units.value; }  // of a head
  int32_t units_per_head() const { return statistics.value + image_units(); }
  ATTN4J_HOST_DEVICE int32_t units() const { return heads * (statistics.value + 2 * kv_units.value + q_units.value); }

  void set_rounds(int32_t heads_of_a_round) {
    round_heads = heads_of_a_round;
    per_round = Divisor(round_heads * units_per_head());
    const int32_t last = heads > 0 ? (heads - 1) / round_heads : 0, last_heads = heads - last * round_heads;
    // The round before the last has the statistics of as many heads as the last one has.
    last_start = last > 0 ? last * per_round.value - (round_heads - last_heads) * statistics.value : 0;
  }

  // A round takes some heads: Q, which needs no statistics (but for an LSE); the statistics of the next round's heads;
  // K and V. So what a unit waits for was begun a round before, and V is still in the L2 cache when it is read again.
  // Before the first round come its own statistics.
  ATTN4J_HOST_DEVICE Fp8Unit unit(int32_t u) const {
    Fp8Unit unit = numbered_from_zero(u);
    unit.kv_head += first_head;
    return unit;
  }

 private:
  static ATTN4J_HOST_DEVICE Fp8Unit split(Fp8Task task, int32_t head, int32_t u, const Divisor& per_head) {
    const int32_t n = per_head.quotient(u);
    return {task, head + n, u - n * per_head.value};
  }

  ATTN4J_HOST_DEVICE Fp8Unit statistics_unit(int32_t head, int32_t u) const {
    const Fp8Unit unit = split(Fp8Task::kExtremes, head, u, statistics);
    if (unit.index >= 2) return {Fp8Task::kExtremes, unit.kv_head, unit.index - 2};
    return {unit.index == 0 ? Fp8Task::kMean : Fp8Task::kVMean, unit.kv_head, 0};
  }

  ATTN4J_HOST_DEVICE Fp8Unit numbered_from_zero(int32_t u) const {
    const int32_t first = least(round_heads, heads) * statistics.value;
    if (u < first) return statistics_unit(0, u);
    u -= first;
    int32_t head = per_round.quotient(u) * round_heads, count = round_heads, next = round_heads;
    if (u >= last_start) {
      u -= last_start;
      head = (per_round.quotient(last_start - 1) + 1) * round_heads;
      head = last_start == 0 ? 0 : head;
      count = heads - head, next = 0;
    } else {
      u -= per_round.quotient(u) * per_round.value;
      next = least(next, heads - head - count);
    }
    if (u < count * q_units.value) return split(Fp8Task::kQ, head, u, q_units);
    u -= count * q_units.value;
    if (u < next * statistics.value) return statistics_unit(head + count, u);
    u -= next * statistics.value;
    if (u < count * kv_units.value) return split(Fp8Task::kK, head, u, kv_units);
    return split(Fp8Task::kV, head, u - count * kv_units.value, kv_units);
  }

  static ATTN4J_HOST_DEVICE int32_t least(int32_t x, int32_t y) { return x < y ? x : y; }
};

struct Fp8Schedule {
  Fp8Section early, late;  // what all CTAs do together; what late_ctas of them do then
  Divisor heads_kv;        // per batch entry
  int32_t late_ctas = 0;

  ATTN4J_HOST_DEVICE int32_t early_units() const { return early.units(); }
  ATTN4J_HOST_DEVICE int32_t units() const { return early.units() + late.units(); }
  ATTN4J_HOST_DEVICE Fp8Unit unit(int32_t u) const {
    return u < early_units() ? early.unit(u) : late.unit(u - early_units());
  }
  ATTN4J_HOST_DEVICE const Fp8Section& section(int32_t kv_head) const {
    return kv_head < late.first_head ? early : late;
  }
};

}  // namespace attn4j
