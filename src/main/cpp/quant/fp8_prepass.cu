#include <algorithm>
#include <cmath>

#include "arch/arch.h"
#include "attention/attend_wgmma_sections.h"
#include "attention/launch.cuh"
#include "quant/fp8_prepass.cuh"
#include "quant/fp8_prepass.h"

namespace attn4j {
namespace {

int64_t ceil_div(int64_t x, int64_t y) { return (x + y - 1) / y; }
int64_t slice(int64_t bytes) { return ceil_div(bytes, 256) * 256; }

constexpr int kBlocksPerUnit = 4, kFewBlocksPerUnit = 2;

int64_t block_rows(int32_t head_dim) {
  static_assert(PrepassShape<96>::kBlock == PrepassShape<128>::kBlock);
  return head_dim == 64 ? PrepassShape<64>::kBlock : PrepassShape<128>::kBlock;
}

// The units of one kv head.
Fp8Schedule units_of(int32_t head_dim, const AttentionArgs& a) {
  const int64_t block = block_rows(head_dim);
  const int64_t key_blocks = ceil_div(a.lk_padded, block), q_blocks = ceil_div(a.lq_padded, block);
  Fp8Schedule s;
  // A unit's own cost, of waiting and telling, is that of about one block. Short heads need small units all the same:
  // attention waits for the first head.
  s.run = key_blocks >= 32 ? kBlocksPerUnit : kFewBlocksPerUnit;
  s.chunk_blocks = static_cast<int32_t>(std::max<int64_t>(s.run, ceil_div(key_blocks, kMaxChunks)));
  s.chunks = Divisor(static_cast<int32_t>(std::max<int64_t>(1, ceil_div(a.lk, s.chunk_blocks * block))));
  s.kv_units = Divisor(static_cast<int32_t>(ceil_div(key_blocks, s.run)));
  s.q_member_units = Divisor(static_cast<int32_t>(ceil_div(q_blocks, s.run)));
  s.q_units = Divisor(s.q_member_units.value * a.group);
  s.heads_kv = Divisor(a.heads_kv);
  s.heads = a.batch * a.heads_kv;
  return s;
}

// What the plan of the overlap reckons with, in microseconds, as measured on an H100 (docs/hopper.md).
struct Times {
  double block;  // to quantise a block of rows, or take its statistics, on one SM
  double item;   // attention's work on 128 queries
  int streams;   // items at once on one SM
};

Times times_of(int32_t head_dim, const AttentionArgs& a) {
  const int streams = head_dim == 64 ? 2 : 1;
  const double operations_per_sm = head_dim == 64 ? 5.0e6 : head_dim == 96 ? 5.5e6 : 6.6e6;
  const double operations = 4.0 * 128 * a.lk * head_dim * (a.causal_offset == kNotCausal ? 1.0 : 0.5);
  return {1.1, operations * streams / operations_per_sm, streams};
}

// When `items` are done by streams of which `late` start at the time `start` and the others at 0.
double finish(int64_t items, int64_t streams, int64_t late, double start, double item) {
  for (int64_t rounds = ceil_div(items, streams);; rounds++) {
    const double end = rounds * item;
    const int64_t late_rounds = end > start ? static_cast<int64_t>((end - start) / item) : 0;
    if ((streams - late) * rounds + late * late_rounds < items) continue;
    const double earlier = start + late_rounds * item;  // the late ones' last end before that
    const bool enough = (streams - late) * static_cast<int64_t>(earlier / item) + late * late_rounds >= items;
    return enough ? earlier : end;
  }
}

// How many CTAs quantise beside attention; all of them if there is nothing to gain. `early_heads` are done before.
int late_ctas(const Times& t, const AttentionArgs& a, double blocks_per_head, int64_t early_heads, int sms) {
  // CTAs that keep quantisation so many times faster than attention.
  const double quantisation = t.block * blocks_per_head, attention = t.item / t.streams * ceil_div(a.lq, 128) * a.group;
  const auto pace = [&](double lead) {
    return static_cast<int>(std::ceil(sms * lead * quantisation / (attention + lead * quantisation)));
  };
  constexpr int64_t kRounds = 8;  // with fewer items per stream it matters how they fall into rounds
  const int64_t items = int64_t{a.batch} * a.heads_q * ceil_div(a.lq, 128), streams = int64_t{sms} * t.streams;
  if (a.causal_offset != kNotCausal || items > kRounds * streams) {
    const int late = pace(1.6);
    return late > sms / 2 ? sms : late;  // attention has little to hide it behind
  }
  // SMs that start late have a round less. That may cost nothing, or a round for all.
  const int64_t late_heads = std::max<int64_t>(0, int64_t{a.batch} * a.heads_kv - early_heads);
  const double late_work = late_heads * blocks_per_head * t.block;
  double best = 0.98 * (late_work / sms + finish(items, streams, 0, 0, t.item));
  int chosen = sms;
  for (int late = pace(1.2); late <= sms / 2; late++) {
    double end = 0;
    for (const double longer : {1.0, 1.1, 1.25}) {  // no plan that a small error ruins
      end += finish(items, streams, late * t.streams, longer * late_work / late, t.item) / 3;
    }
    if (end < best) best = end, chosen = late;
  }
  return chosen;
}

// How many heads all CTAs do together, and how many CTAs do the others beside attention.
void plan_overlap(int32_t head_dim, const AttentionArgs& a, int sms, int ctas, int teams, Fp8Schedule* s) {
  const Times t = times_of(head_dim, a);
  // Attention's first items come from so many query heads; with a causal mask from a whole section.
  const int64_t first_items = int64_t{sms} * t.streams;
  int64_t first_heads = ceil_div(first_items, std::max<int64_t>(1, ceil_div(a.lq, 128))) + 1;
  if (a.causal_offset != kNotCausal) {
    first_heads = std::max(first_heads, std::min<int64_t>(first_items, wgmma_section_heads(a, head_dim)));
  }
  const int64_t early_heads = ceil_div(first_heads, a.group);
  const double blocks_per_head = (3.0 * a.lk + static_cast<double>(a.group) * a.lq) / block_rows(head_dim);
  s->late_ctas = std::min(ctas, late_ctas(t, a, blocks_per_head, early_heads, sms));
  // Rounds so large that every team has something to do between a head's statistics and its K and V.
  const int64_t round = ceil_div(6 * s->late_ctas * teams / 5, std::max(1, s->image_units()));
  s->set_rounds(static_cast<int32_t>(std::max<int64_t>(1, std::min<int64_t>(s->heads, round))));
  const int64_t early_rounds = ceil_div(early_heads, s->round_heads);
  s->early_units = static_cast<int32_t>(
      std::min<int64_t>(s->units(), s->round_heads * (s->chunks.value + early_rounds * s->units_per_head())));
}

template <int D, DType T, bool kPool>
cudaError_t enqueue(const KernelEntry& kernel, const AttentionArgs& a, float* statistics, const Fp8Extras& extras,
                    cudaStream_t stream) {
  int multiprocessors = 0;
  cudaError_t error = multiprocessor_count(&multiprocessors);
  constexpr int kBytes = kPrepassTeamBytes<D, kPool> * kTeams<kPool>;
  static_assert(kBytes <= 227 * 1024);
  if (error == cudaSuccess) error = allow_shared_memory<fp8_prepass<D, T, kPool>>(kBytes);
  if (error != cudaSuccess) return error;
  PrepassParams p;
  p.a = a;
  p.extras = extras;
  p.statistics = statistics;
  p.images_done = a.images_done;
  p.statistics_done = a.images_done + a.batch * a.heads_kv;
  p.units_drawn = p.statistics_done + a.batch * a.heads_kv;
  p.key_tile = kernel.key_tile;
  p.schedule = units_of(D, a);
  const int64_t wanted = ceil_div(static_cast<int64_t>(p.schedule.heads) * p.schedule.units_per_head(), kTeams<kPool>);
  const int ctas = static_cast<int>(std::min<int64_t>(multiprocessors, wanted));
  if (kernel.family == Family::kWgmmaInt8Fp8) {
    plan_overlap(D, a, multiprocessors, ctas, kTeams<kPool>, &p.schedule);
  } else {  // the selection of blocks comes between, and wants everything
    const int64_t round = ceil_div(6 * ctas * kTeams<kPool> / 5, std::max(1, p.schedule.image_units()));
    p.schedule.set_rounds(static_cast<int32_t>(std::max<int64_t>(1, std::min<int64_t>(p.schedule.heads, round))));
    p.schedule.late_ctas = ctas, p.schedule.early_units = p.schedule.units();
  }

  const int cleared = std::max(a.batch * a.heads_kv, extras.cleared_count);
  fp8_clear<<<ceil_div(cleared, kTeamThreads), kTeamThreads, 0, stream>>>(p);
  error = cudaGetLastError();
  if (error != cudaSuccess) return error;
  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(ctas);
  config.blockDim = dim3(kTeamThreads * kTeams<kPool>);
  config.dynamicSmemBytes = kBytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, fp8_prepass<D, T, kPool>, p);
}

template <int D>
cudaError_t enqueue(const KernelEntry& kernel, const AttentionArgs& a, float* statistics, const Fp8Extras& extras,
                    cudaStream_t stream) {
  const bool pools = extras.k.means != nullptr;
  if (kernel.dtype == DType::kFloat16) {
    return pools ? enqueue<D, DType::kFloat16, true>(kernel, a, statistics, extras, stream)
                 : enqueue<D, DType::kFloat16, false>(kernel, a, statistics, extras, stream);
  }
  return pools ? enqueue<D, DType::kBFloat16, true>(kernel, a, statistics, extras, stream)
               : enqueue<D, DType::kBFloat16, false>(kernel, a, statistics, extras, stream);
}

}  // namespace

Fp8Workspace fp8_workspace(const KernelEntry& kernel, const AttentionArgs& a) noexcept {
  const int64_t d = kernel.head_dim, kv_heads = static_cast<int64_t>(a.batch) * a.heads_kv;
  const int64_t q_heads = static_cast<int64_t>(a.batch) * a.heads_q;
  const int64_t keys = ceil_div(a.lk, kernel.key_tile) * kernel.key_tile;
  const int64_t queries = ceil_div(a.lq, kernel.query_tile) * kernel.query_tile;
  Fp8Workspace w;
  w.k_image = slice(kv_heads * keys * d);
  w.k_scale = slice(kv_heads * (keys / 8) * 4);
  w.k_mean = slice(kv_heads * a.head_dim * 4);
  w.v_image = slice(kv_heads * keys * (d + 8));
  w.v_scale = slice(kv_heads * d * 4);
  w.q_image = slice(q_heads * queries * d);
  w.q_scale = slice(2 * q_heads * queries * 4);  // scales, then q . mean(k)
  w.statistics = slice(kv_heads * (units_of(kernel.head_dim, a).chunks.value + 1) * 2 * d * 4);
  w.work_counter = 256;
  w.images_done = slice((2 * kv_heads + 2) * 4);
  return w;
}

int32_t fp8_images_per_head(const KernelEntry& kernel, const AttentionArgs& a) noexcept {
  return units_of(kernel.head_dim, a).image_units() + 1;  // and the scales of V
}

cudaError_t enqueue_sm90_prepass(const KernelEntry& kernel, const AttentionArgs& args, float* statistics,
                                 const Fp8Extras& extras, cudaStream_t stream) noexcept {
  // Other architectures lack the kernel that reads the images, and the older ones e4m3: no code is made for them.
  if constexpr (arch::kSm == 90) {
    switch (kernel.head_dim) {
      case 64:
        return enqueue<64>(kernel, args, statistics, extras, stream);
      case 96:
        return enqueue<96>(kernel, args, statistics, extras, stream);
      case 128:
        return enqueue<128>(kernel, args, statistics, extras, stream);
      default:
        break;
    }
  }
  return cudaErrorNotSupported;
}

}  // namespace attn4j
