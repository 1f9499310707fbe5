#include "host/recipe.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "host/validate.h"

namespace attn4j {
namespace {

// A kernel that nobody has measured runs where no measured one serves; among its variants the smallest head_dim.
constexpr double kUnmeasuredStart = 1., kUnmeasuredRate = 1e12;

// Kernels that a data sheet's peak limits, and not what else they do, come this close to it. Not measured.
constexpr double kOfPeak = 0.9;

// Of few queries (docs/decode.md): a call's constant, and bytes per second of an H200's memory in a call.
constexpr int32_t kFewQueries = 128;
constexpr double kFewStart = 2.5e-6, kBandwidth = 3.4e12;

// Keys that the last query sees.
int64_t seen_keys(const AttentionArgs& a) {
  return std::max<int64_t>(0, std::min<int64_t>(a.lk, int64_t{a.lq} + a.causal_offset));
}

// What few queries wait for the memory, at least: K and V are read for attention, and in each pass of a preparation.
double memory_seconds(const KernelEntry& e, const AttentionArgs& a) {
  const double bytes = 4. * a.head_dim * a.batch * a.heads_kv * static_cast<double>(seen_keys(a));
  return kFewStart + bytes * (1. + e.cost.key_passes / 2) / kBandwidth;
}

// What the rounds take that their items need, 128 queries of a head each, where an item takes its keys in turn. Items
// that share an SM share its rate. FP8 divides some items' keys between SMs, but reaches no more than this either: 63
// us for 32 items of 4097 keys (docs/decode.md).
double rounds_seconds(const KernelEntry& e, const AttentionArgs& a, const Machine& machine) {
  const double sms = machine.multiprocessors, items = static_cast<double>(a.batch) * a.heads_q;
  const double key = 4. * 128 * e.head_dim / (e.cost.plain / kReferenceSms) * e.streams;
  const double rounds = std::ceil(items / (sms * e.streams));
  const double keys = std::ceil(static_cast<double>(seen_keys(a)) / e.key_tile) * e.key_tile;
  return rounds * (keys * key + e.cost.item) / machine.clock;
}

// What few queries take. `estimate` is made for problems that fill the GPU: without a preparation it isn't needed.
double few_seconds(const KernelEntry& e, const AttentionArgs& a, const Machine& machine, double estimate) {
  const double rounds = rounds_seconds(e, a, machine), memory = memory_seconds(e, a);
  if (e.cost.key_passes == 0) return std::max(kFewStart + rounds, memory);
  return std::max({estimate, e.cost.start + rounds, memory});
}

double operations_of(const KernelEntry& e, const AttentionArgs& a) {
  const double queries = a.lq <= kFewQueries ? kFewQueries : a.lq;  // an item has no fewer
  const double causal = a.causal_offset != kNotCausal ? 0.5 : 1.;
  return 4. * e.head_dim * a.batch * a.heads_q * queries * a.lk * causal;
}

// Operations per second of the loop over keys, on the machine.
double rate_of(const Cost& c, const AttentionArgs& a, const Machine& machine) {
  const double rate = (a.causal_offset != kNotCausal ? c.causal : c.plain) * machine.clock;
  const double bound = c.peak > 0 ? kOfPeak * c.peak * machine.clock * machine.tensor : rate;
  return std::min(rate, bound) * machine.multiprocessors / kReferenceSms;
}

// Parts of an item: at most, and keys of one, at least.
constexpr int32_t kMostParts = 16, kLeastPartKeys = 256;
// What adding parts up costs: its launch, and bytes per second of what they leave in L2. Guessed.
constexpr double kMergeStart = 4e-6, kMergeBandwidth = 2.5e12;
// An item that has its SM to itself takes so much of the time of one that shares it: 0.65 to 1 (docs/mma.md).
constexpr double kAlone = 0.85;

// What the last round takes if its items are cut into so many parts.
double last_round_seconds(const KernelEntry& e, const AttentionArgs& a, const Machine& machine, int32_t items,
                          int32_t parts) {
  const int64_t sms = machine.multiprocessors, slots = sms * e.streams, ctas = int64_t{items} * parts;
  const int64_t tiles = (a.lk + e.key_tile - 1) / e.key_tile, most = (tiles + parts - 1) / parts;
  const double key =
      4. * e.query_tile * e.head_dim * e.streams / (rate_of(e.cost, a, machine) / static_cast<double>(sms));
  const double start = e.cost.item / machine.clock;
  const double cta = static_cast<double>(most * e.key_tile) * key + start;
  const int64_t rounds = ctas / slots, rest = ctas % slots;
  double seconds = static_cast<double>(rounds) * cta + (rest == 0 ? 0. : rest <= sms ? kAlone * cta : cta);
  if (parts > 1) {
    const double bytes = 4. * static_cast<double>(part_floats(e.query_tile, e.head_dim) * ctas);
    seconds += kMergeStart + 2 * bytes / kMergeBandwidth;
  }
  return seconds;
}

// Looks for the cheapest entry among those that `serves` names.
template <class Serves>
Refusal search(const AttentionParams& params, const AttentionArgs& shape, const Machine& machine, Serves serves,
               const KernelEntry** chosen) {
  int32_t count = 0;
  const KernelEntry* entries = kernel_table(&count);
  Refusal why{RefusalReason::kNotBuilt};
  int32_t largest = 0;
  double least = std::numeric_limits<double>::infinity();
  *chosen = nullptr;
  for (int32_t i = 0; i < count; i++) {
    const KernelEntry& e = entries[i];
    if (!serves(e)) continue;
    largest = std::max(largest, e.head_dim);
    if (const Refusal r = refusal_of(e, params, shape)) {
      const bool first = why.kind == RefusalReason::kNotBuilt || why.kind == RefusalReason::kHeadDim;
      if (first && e.dtype == params.q.dtype) why = r;
      continue;
    }
    const double seconds = seconds_of(e, shape, machine);
    if (*chosen == nullptr || seconds < least) *chosen = &e, least = seconds;
  }
  if (*chosen != nullptr) return {};
  if (why.kind == RefusalReason::kHeadDim) why.accepted = largest;
  return why;
}

}  // namespace

double seconds_of(const KernelEntry& e, const AttentionArgs& shape, const Machine& machine) {
  return (e.seconds != nullptr ? e.seconds : estimate_seconds)(e, shape, machine);
}

double estimate_seconds(const KernelEntry& e, const AttentionArgs& a, const Machine& machine) {
  const Cost& c = e.cost;
  const double sms = machine.multiprocessors, heads_q = static_cast<double>(a.batch) * a.heads_q;
  const double heads_kv = static_cast<double>(a.batch) * a.heads_kv;
  const double operations = operations_of(e, a);
  if (c.plain <= 0) return kUnmeasuredStart + operations / kUnmeasuredRate;
  const double items = heads_q * ((a.lq + 127) / 128);
  const double blocks = c.block > 0 ? (heads_q * a.lq + c.key_passes * heads_kv * a.lk) / c.block_rows : 0.;
  const double seconds = operations / rate_of(c, a, machine) + items / (sms * e.streams) * c.item / machine.clock +
                         blocks / sms * c.block + c.start;
  return a.lq <= kFewQueries ? few_seconds(e, a, machine, seconds) : seconds;
}

double sparse_seconds(const KernelEntry& e, const AttentionArgs& a, const Machine& machine, double share) {
  KernelEntry dense = e;
  dense.cost = e.lists.dense;
  const double loop = operations_of(dense, a) / rate_of(dense.cost, a, machine);
  const double rows = static_cast<double>(a.batch) * a.heads_q * ((a.lq + e.query_tile - 1) / e.query_tile);
  const double select = rows * e.lists.select * kReferenceSms / machine.multiprocessors / machine.clock;
  return estimate_seconds(dense, a, machine) - loop + select + (1 - share) * e.lists.factor * loop;
}

int32_t items_of(const KernelEntry& e, const AttentionArgs& a) {
  return (a.lq + e.query_tile - 1) / e.query_tile * a.batch * a.heads_q;
}

// With a causal mask the last items of a head are short, and nothing is divided.
ItemParts parts_of(const KernelEntry& e, const AttentionArgs& a, const Machine& machine) {
  ItemParts whole;
  if (!e.divides_items || a.packed.q != nullptr || e.cost.plain <= 0 || a.causal_offset != kNotCausal) return whole;
  const int32_t streams = machine.multiprocessors * e.streams, items = items_of(e, a), last = items % streams;
  if (last == 0 || items > INT32_MAX - kMostParts * streams) return whole;
  ItemParts best = whole;
  double least = last_round_seconds(e, a, machine, last, 1);
  for (int32_t parts = 2; parts <= std::min(kMostParts, a.lk / kLeastPartKeys); parts++) {
    const double seconds = last_round_seconds(e, a, machine, last, parts);
    if (seconds < least) least = seconds, best = {items - last, parts};
  }
  return best;
}

namespace {

// What RefusalReason::kMask finds.
int64_t masks_of(const AttentionParams& p) {
  const KeyWindow& w = p.window;
  const bool has_window = w.left >= 0 || w.right >= 0;  // else it hides nothing
  return (p.seen.data != nullptr ? 1 : 0) + (p.bias.data != nullptr ? 2 : 0) + (has_window ? 4 : 0);
}

}  // namespace

bool is_key_mask(const AttentionParams& p, const AttentionArgs& shape) {
  const MaskTensor& seen = shape.masks.seen;
  const bool differs = (shape.heads_q > 1 && seen.head != 0) || (shape.lq > 1 && seen.row != 0);
  return masks_of(p) == 1 && !differs;
}

bool is_listed_mask(const AttentionParams& p, const AttentionArgs& shape) {
  return is_key_mask(p, shape) && shape.causal_offset + 1 >= shape.lk;
}

Refusal refusal_of(const KernelEntry& e, const AttentionParams& p, const AttentionArgs& shape) {
  if (e.dtype != p.q.dtype) return {RefusalReason::kNotBuilt};
  if (shape.head_dim > e.head_dim) return {RefusalReason::kHeadDim, shape.head_dim, e.head_dim};
  if (p.packed.cu_seqlens_q != nullptr && !e.takes_packed) return {RefusalReason::kPacked, p.packed.count};
  const int64_t masks = masks_of(p);
  const bool lists_keys = e.function != Function::kSparse;
  const bool serves_keys = e.hides_keys ? is_key_mask(p, shape) : lists_keys && is_listed_mask(p, shape);
  if (masks != 0 && !e.reads_masks && !serves_keys) {
    return {RefusalReason::kMask, masks, lists_keys ? 1 : 0};
  }
  if (masks == 0 && e.reads_masks) return {RefusalReason::kNotBuilt};
  const bool reads = e.accumulator != PvAccumDType::kDefault && p.pv_accum_dtype != PvAccumDType::kDefault;
  if (reads && p.pv_accum_dtype != e.accumulator) {
    return {RefusalReason::kAccumulator, static_cast<int64_t>(p.pv_accum_dtype), static_cast<int64_t>(e.accumulator)};
  }
  if (e.per_thread_only && p.qk_quant_gran != QuantGranularity::kPerThread) {
    return {RefusalReason::kGranularity, static_cast<int64_t>(p.qk_quant_gran),
            static_cast<int64_t>(QuantGranularity::kPerThread)};
  }
  if (e.writes_vectors && !is_vector_aligned(p.o, p.tensor_layout)) return {RefusalReason::kOutput};
  return e.refuses != nullptr ? e.refuses(e, p, shape) : Refusal{};
}

Refusal cheapest(uint32_t functions, const AttentionParams& params, const AttentionArgs& shape, const Machine& machine,
                 const KernelEntry** chosen) {
  const bool names_accumulator = params.pv_accum_dtype != PvAccumDType::kDefault;
  return search(
      params, shape, machine,
      [=](const KernelEntry& e) {
        return (functions & one(e.function)) != 0 && (names_accumulator || e.serves_default);
      },
      chosen);
}

Refusal cheapest_sage(const AttentionParams& params, const AttentionArgs& shape, const Machine& machine,
                      const KernelEntry** chosen) {
  // Whatever it is that serves, sageattn's limits are those of the quantised kernels.
  if (is_key_mask(params, shape) && !is_listed_mask(params, shape) && shape.lk < kLeastHiddenKeys) {
    return {RefusalReason::kMask, masks_of(params), 1};
  }
  const Refusal refusal = cheapest(kSageFunctions, params, shape, machine, chosen);
  const bool pinned =
      params.qk_quant_gran != QuantGranularity::kPerThread || params.pv_accum_dtype != PvAccumDType::kDefault;
  if (refusal || pinned) return refusal;
  return search(
      params, shape, machine, [](const KernelEntry& e) { return e.serves_sageattn; }, chosen);
}

}  // namespace attn4j
