// One row for each head_dim of variants.list: what was measured there, on the reference GPU (host/machine.h). Tiles,
// stages and registers are the kernels' own business.
#pragma once

#include <cuda_runtime_api.h>

#include <type_traits>

#include "arch/arch.h"
#include "attn4j/attn4j.h"
#include "host/recipe.h"

namespace attn4j {

template <int... D>
struct HeadDims {
  static constexpr bool has(int d) { return ((d == D) || ...); }

  // What f(std::integral_constant<int, D>) returns for the D that is `d`.
  template <class F>
  static cudaError_t with(int d, F f) {
    cudaError_t error = cudaErrorInvalidValue;
    (void)((d == D && (error = f(std::integral_constant<int, D>()), true)) || ...);
    return error;
  }
};

// Those of quantised kernels: quantisation is compiled for them. The build holds variants.list against this.
using QuantisedHeadDims = HeadDims<64, 96, 128>;

// Operations per second within an item, without and with a causal mask; 0: not measured.
struct Rates {
  double plain = 0, causal = 0;
};

template <int D>
struct HeadDimTraits {
  static_assert(D == 0, "variants.list names a head_dim that host/head_dim.h has no row for: add HeadDimTraits<D>");
};

// Rates of INT8/FP8 and exact: docs/choice.md, the rate at 96 with a causal mask estimated; of INT8/16-bit:
// docs/exact.md, those with a causal mask estimated as 0.95 of those without. fp8_rows: of a block of the FP8
// preparation.
template <>
struct HeadDimTraits<64> {
  static constexpr Rates kExact{530e12, 530e12}, kInt8Fp8{725e12, 700e12}, kInt8F16{515e12, 489e12};
  static constexpr int kPreparedRows = 256;
};
template <>
struct HeadDimTraits<96> {
  static constexpr Rates kExact{645e12, 615e12}, kInt8Fp8{850e12, 810e12}, kInt8F16{717e12, 681e12};
  static constexpr int kPreparedRows = 128;
};
template <>
struct HeadDimTraits<128> {
  static constexpr Rates kExact{720e12, 695e12}, kInt8Fp8{1010e12, 980e12}, kInt8F16{799e12, 759e12};
  static constexpr int kPreparedRows = 128;
};
// Exact alone; rates: docs/exact.md.
struct WideHeadDimTraits {
  static constexpr Rates kInt8Fp8{}, kInt8F16{};
  static constexpr int kPreparedRows = 128;
};
template <>
struct HeadDimTraits<160> : WideHeadDimTraits {
  static constexpr Rates kExact{650e12, 600e12};
};
template <>
struct HeadDimTraits<192> : WideHeadDimTraits {
  static constexpr Rates kExact{650e12, 600e12};
};
template <>
struct HeadDimTraits<256> : WideHeadDimTraits {
  static constexpr Rates kExact{600e12, 550e12};
};

// Constant costs belong to these measurements: the plan of the FP8 preparation (quant/fp8_plan.h) has a time per block
// of its own, and what changes there must not move a choice unmeasured. Peaks are an H100 SXM's by its data sheet.
template <int D>
Cost exact_wgmma_cost() {
  constexpr Rates kRates = HeadDimTraits<D>::kExact;
  Cost c;
  c.plain = kRates.plain, c.causal = kRates.causal, c.peak = 989e12;
  c.item = 1.5e-6, c.start = 7e-6;
  return c;
}

template <int D>
Cost int8_fp8_wgmma_cost() {
  constexpr Rates kRates = HeadDimTraits<D>::kInt8Fp8;
  Cost c;
  c.plain = kRates.plain, c.causal = kRates.causal, c.peak = 1979e12;
  // Two more launches, the wait for the first heads' images, and V's mean: that added 12 us at SDXL's shape, 24 at
  // Flux's (bench/results/choice-h200.json).
  c.item = 4.0e-6, c.start = 32.5e-6;
  c.block = 0.9e-6, c.block_rows = HeadDimTraits<D>::kPreparedRows;
  c.key_passes = 3;  // K once, V twice
  return c;
}

// The constants of a call are the FP8 kernel's, which has as many launches; the time per block is what the calls of
// docs/exact.md take beyond their attention kernel.
template <int D>
Cost int8_f16_wgmma_cost() {
  constexpr Rates kRates = HeadDimTraits<D>::kInt8F16;
  Cost c;
  c.plain = kRates.plain, c.causal = kRates.causal, c.peak = 1319e12;  // half of it at twice the rate
  c.item = 1.5e-6, c.start = 17.5e-6;
  c.block = 2.6e-6, c.block_rows = HeadDimTraits<D>::kPreparedRows;
  c.key_passes = 2;  // of K, for its mean and for itself
  return c;
}

// The kernels on mma.sync, compiled for 9.0 and measured on an H200. Elsewhere these are what their tensor cores allow
// (docs/mma.md), and not measured: on 8.0 three quarters, and on GeForce, whose 16-bit multiplies with fp32
// accumulators run at half rate, a good third of exact attention and half of INT8.
constexpr bool kHalfRate = arch::kSm == 86 || arch::kSm == 89 || arch::kSm >= 120;
constexpr double kExactMmaShare = kHalfRate ? 0.37 : arch::kSm < 90 ? 0.73 : 1.;
constexpr double kInt8MmaShare = kHalfRate ? 0.5 : arch::kSm < 90 ? 0.83 : 1.;

template <int kD>
Cost exact_mma_cost() {
  Cost c;
  c.plain = (kD == 64 ? 375e12 : kD == 96 ? 395e12 : kD == 128 ? 420e12 : 345e12) * kExactMmaShare;
  c.causal = 0.97 * c.plain;
  c.peak = 989e12, c.item = 5e-6, c.start = 5e-6;
  return c;
}

template <int kD>
Cost int8_mma_cost() {
  Cost c;
  c.plain = (kD == 64 ? 435e12 : kD == 96 ? 480e12 : 520e12) * kInt8MmaShare;
  c.causal = 0.96 * c.plain;
  c.peak = 1319e12, c.item = 9e-6, c.start = 10e-6;
  c.block = 2.2e-6 * kD / 128, c.key_passes = 1;
  return c;
}

// How much faster other accumulators and FP8 make the INT8 kernel, and what of their tensor clocks' ratio that is: on
// GeForce a step of INT8/16-bit takes 5 parts with fp32 accumulators, 3 with fp16 ones or with FP8, and 2 with both
// (docs/mma.md). The rest is for the instructions of the fold. Bounds, nobody has measured these kernels.
constexpr double kAcc16MmaGain = kHalfRate ? 0.95 * 5 / 3 : 0.8;
constexpr double kFp8MmaGain = kHalfRate ? 0.95 * 5 / 3 : 0.8;
constexpr double kFp8Acc16MmaGain = kHalfRate ? 0.9 * 5 / 2 : 0.8;

template <int kD>
Cost int8_values_mma_cost(double gain, bool has_image) {
  Cost c = int8_mma_cost<kD>();
  c.plain *= gain, c.causal *= gain, c.peak *= 2;    // the rate is the limit already
  if (has_image) c.start += 5e-6, c.key_passes = 3;  // two launches; V is read twice
  return c;
}

// Fitted to the rows `topk` of bench/results/sparge-h100.json and of mma-h200.json (`sparse`): straight lines through
// times over the share that is computed, within 4 % of each row. 96 lies between, and wasn't measured.
template <int kD>
ListCost fp8_wgmma_list_cost() {
  return {int8_fp8_wgmma_cost<kD>(), kD == 128 ? 1.06 : kD == 96 ? 1.07 : 1.08, 0.43e-9 * kD};
}
template <int kD>
ListCost int8_mma_list_cost() {
  return {int8_mma_cost<kD>(), kD == 128 ? 1.15 : kD == 96 ? 1.19 : 1.23, 0.69e-9 * kD};
}

}  // namespace attn4j
