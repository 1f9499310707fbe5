#include "host/choose.h"

#include "arch/arch.h"

namespace attn4j {
namespace {

// Rates of the Hopper kernels, in operations per second, where a problem fills the GPU. docs/choice.md has the
// measurements and what the estimate gets right and wrong.
struct HopperRates {
  int32_t head_dim;
  double exact, exact_causal;
  double fp8, fp8_causal;  // the attention kernel alone
};
constexpr HopperRates kHopperRates[] = {
    {64, 560e12, 500e12, 720e12, 650e12},
    {96, 650e12, 600e12, 770e12, 735e12},
    {128, 700e12, 655e12, 940e12, 900e12},
};

// The FP8 path's pre-pass: bytes per second over what it reads and writes, and the cost of two more launches. An H100's
// memory; an H200's is a third faster, which moves no choice by more than its error.
constexpr double kPrepassBytesPerSecond = 2.3e12, kPrepassSeconds = 10e-6;

bool exact_is_faster(const AttentionArgs& a) {
  const HopperRates* rates = nullptr;
  for (const HopperRates& r : kHopperRates) {
    if (rates == nullptr && a.head_dim <= r.head_dim) rates = &r;
  }
  if (rates == nullptr) return false;  // above every quantised kernel: the request is refused with that reason
  const bool causal = a.causal_offset != kNotCausal;
  const double d = rates->head_dim, heads_q = static_cast<double>(a.batch) * a.heads_q;
  const double heads_kv = static_cast<double>(a.batch) * a.heads_kv;
  const double operations = 4. * d * heads_q * a.lq * a.lk * (causal ? 0.5 : 1.);
  const double bytes = d * (3. * heads_q * a.lq + 6.1 * heads_kv * a.lk);
  const double exact = operations / (causal ? rates->exact_causal : rates->exact);
  const double fp8 =
      operations / (causal ? rates->fp8_causal : rates->fp8) + bytes / kPrepassBytesPerSecond + kPrepassSeconds;
  return exact < fp8;
}

}  // namespace

std::array<SageChoice, 3> sage_choices(const AttentionParams& params, const AttentionArgs& shape) {
  // Other architectures have one quantised kernel each, and no measurement that would speak for the exact one.
  if constexpr (arch::kSm != 90) return {SageChoice::kInt8F16, SageChoice::kInt8F16, SageChoice::kInt8F16};
  // Who asks for a certain quantisation gets a quantised kernel.
  const bool pinned =
      params.qk_quant_gran != QuantGranularity::kPerThread || params.pv_accum_dtype != PvAccumDType::kDefault;
  if (!pinned && exact_is_faster(shape)) return {SageChoice::kExact, SageChoice::kInt8Fp8, SageChoice::kInt8F16};
  return {SageChoice::kInt8Fp8, SageChoice::kInt8F16, SageChoice::kInt8F16};
}

}  // namespace attn4j
