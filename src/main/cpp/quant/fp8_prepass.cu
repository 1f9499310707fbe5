#include <algorithm>
#include <cmath>

#include "arch/arch.h"
#include "attention/fp8_wgmma/sections.h"
#include "attention/fp8_wgmma/split.h"
#include "attention/launch.cuh"
#include "device/launch.cuh"
#include "host/head_dim.h"
#include "quant/fp8_plan.h"
#include "quant/fp8_prepass.cuh"
#include "quant/fp8_prepass.h"

namespace attn4j {
namespace {

int64_t ceil_div(int64_t x, int64_t y) { return (x + y - 1) / y; }
int64_t slice(int64_t bytes) { return ceil_div(bytes, 256) * 256; }

Fp8Problem problem_of(int32_t head_dim, const AttentionArgs& a) {
  Fp8Problem p;
  p.batch = a.batch, p.heads_kv = a.heads_kv, p.group = a.group;
  p.lq = a.lq, p.lk = a.lk, p.lq_padded = a.lq_padded, p.lk_padded = a.lk_padded;
  p.head_dim = head_dim;
  p.causal = a.causal_offset != kNotCausal;
  p.section_heads = wgmma_section_heads(a, head_dim);
  return p;
}

// Parts of items that attention may make.
int64_t most_parts(const KernelEntry& kernel, const AttentionArgs& a) {
  const int64_t items = ceil_div(a.lq, kernel.query_tile) * a.batch * a.heads_q;
  return WgmmaSplit::most_parts(items, Fp8Plan::streams(kernel.head_dim), a.lk, a.causal_offset != kNotCausal);
}

template <int D, DType T, bool kPool, bool kListed>
cudaError_t enqueue(const KernelEntry& kernel, const AttentionArgs& a, float* statistics, const Fp8Extras& extras,
                    cudaStream_t stream) {
  int multiprocessors = 0;
  cudaError_t error = multiprocessor_count(&multiprocessors);
  constexpr int kBytes = kPrepassTeamBytes<D, kPool> * kTeams<kPool>;
  static_assert(kBytes <= 227 * 1024);
  if (error == cudaSuccess) error = allow_shared_memory<fp8_prepass<D, T, kPool, kListed>>(kBytes);
  if (error != cudaSuccess) return error;
  PrepassParams p;
  p.a = a;
  p.extras = extras;
  p.statistics = statistics;
  p.images_done = a.images_done;
  p.means_done = a.images_done + a.batch * a.heads_kv;
  p.v_done = p.means_done + a.batch * a.heads_kv;
  p.units_drawn = p.v_done + a.batch * a.heads_kv;
  p.key_tile = kernel.key_tile, p.compiled_d = D;
  p.parts_done_count = static_cast<int32_t>(most_parts(kernel, a) / 2 * kWgmmaItemWarps);
  static_assert(PrepassShape<D>::kBlock == Fp8Plan::block_rows(D));
  const Fp8Machine machine{multiprocessors, kTeams<kPool>};
  const bool selects_blocks = kernel.function == Function::kSparse;  // between this and attention, from all heads
  const Fp8Problem problem = problem_of(D, a);
  p.schedule =
      selects_blocks ? Fp8Plan::all_before(problem, machine) : Fp8Plan::beside_attention(problem, machine, a.late_ctas);
  const int64_t heads = static_cast<int64_t>(a.batch) * a.heads_kv;
  const int64_t cleared = std::max<int64_t>({heads * v_scale_size(D), extras.cleared_count, p.parts_done_count});
  error = enqueue_kernel(fp8_clear, ceil_div(cleared, kTeamThreads), kTeamThreads, 0, stream, p);
  if (error != cudaSuccess) return error;
  cudaLaunchAttribute attribute;
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(Fp8Plan::ctas(p.schedule, machine));
  config.blockDim = dim3(kTeamThreads * kTeams<kPool>);
  config.dynamicSmemBytes = kBytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, fp8_prepass<D, T, kPool, kListed>, p);
}

// SpargeAttn, which pools, takes no masks; its lists are of all tokens.
template <int D, DType T>
cudaError_t enqueue(const KernelEntry& kernel, const AttentionArgs& a, float* statistics, const Fp8Extras& extras,
                    cudaStream_t stream) {
  if (extras.k.means != nullptr) {
    return a.key_places != nullptr ? enqueue<D, T, true, true>(kernel, a, statistics, extras, stream)
                                   : enqueue<D, T, true, false>(kernel, a, statistics, extras, stream);
  }
  return a.key_places != nullptr ? enqueue<D, T, false, true>(kernel, a, statistics, extras, stream)
                                 : enqueue<D, T, false, false>(kernel, a, statistics, extras, stream);
}

template <int D>
cudaError_t enqueue(const KernelEntry& kernel, const AttentionArgs& a, float* statistics, const Fp8Extras& extras,
                    cudaStream_t stream) {
  return kernel.dtype == DType::kFloat16 ? enqueue<D, DType::kFloat16>(kernel, a, statistics, extras, stream)
                                         : enqueue<D, DType::kBFloat16>(kernel, a, statistics, extras, stream);
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
  w.v_scale = slice(kv_heads * v_scale_size(kernel.head_dim) * 4);
  w.q_image = slice(q_heads * queries * d);
  w.q_scale = slice(2 * q_heads * queries * 4);  // scales, then q . mean(k)
  w.statistics = slice(kv_heads * head_statistics_size(static_cast<int>(d)) * 4);
  w.work_counter = 256;
  w.images_done = slice((3 * kv_heads + 2) * 4);
  const int64_t parts = most_parts(kernel, a);
  w.partials = slice(parts * wgmma_part_floats(d) * 4);
  w.parts_done = slice(parts / 2 * kWgmmaItemWarps * 4);  // an item has at least two
  return w;
}

int32_t fp8_images_per_head(const KernelEntry& kernel, const AttentionArgs& a) noexcept {
  return Fp8Plan::image_blocks(problem_of(kernel.head_dim, a));
}

float fp8_error_unit(int32_t keys) noexcept {
  // Rounding to e4m3 moves a value by at most 2^4 units of V's scale.
  return std::ldexp(1.f, std::ilogb(std::max(1, keys)) + 1 + 4 - 22);
}

void fp8_divide_for(const KernelEntry& kernel, int32_t multiprocessors, AttentionArgs* args) noexcept {
  const Fp8Plan::Division d = Fp8Plan::divide(problem_of(kernel.head_dim, *args), {multiprocessors, kTeams<false>});
  args->split = d.split, args->late_ctas = d.late;
}

cudaError_t fp8_divide(const KernelEntry& kernel, AttentionArgs* args) noexcept {
  int multiprocessors = 0;
  const cudaError_t error = multiprocessor_count(&multiprocessors);
  if (error == cudaSuccess) fp8_divide_for(kernel, multiprocessors, args);
  return error;
}

cudaError_t enqueue_sm90_prepass(const KernelEntry& kernel, const AttentionArgs& args, float* statistics,
                                 const Fp8Extras& extras, cudaStream_t stream) noexcept {
  // Other architectures lack the kernel that reads the images, and the older ones e4m3: no code is made for them.
  if constexpr (arch::kSm == 90) {
    return QuantisedHeadDims::with(kernel.head_dim,
                                   [&](auto d) { return enqueue<d()>(kernel, args, statistics, extras, stream); });
  }
  return cudaErrorNotSupported;
}

}  // namespace attn4j
