#include "host/choose.h"

#include "arch/arch.h"
#include "quant/fp8_plan.h"

namespace attn4j {
namespace {

// What the Hopper kernels take, where a problem fills the GPU: an H100's figures, fitted to measurements of whole
// calls. docs/choice.md has those, and what the estimate gets right and wrong.
struct HopperRates {
  int32_t head_dim;
  double exact, exact_causal;  // operations per second within an item
  double fp8, fp8_causal;
};
constexpr HopperRates kHopperRates[] = {
    {64, 530e12, 530e12, 725e12, 700e12},
    {96, 645e12, 615e12, 850e12, 810e12},
    {128, 720e12, 695e12, 1010e12, 980e12},
};

// Constant costs: of 128 queries of a head on an SM, or on a stream of one, whatever the number of keys; of a block of
// the FP8 path's pre-pass on one SM; of a call, in which FP8 has two more launches and the wait for the first heads'
// images. They belong to the measurements: the plan of the pre-pass (quant/fp8_plan.h) has a time per block of its own,
// and what changes there must not move a choice unmeasured.
constexpr double kExactItemSeconds = 1.5e-6, kFp8ItemSeconds = 4.0e-6, kBlockSeconds = 0.9e-6;
constexpr double kExactStartSeconds = 7e-6, kFp8StartSeconds = 17.5e-6, kMultiprocessors = 132;

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
  // The pre-pass takes each row of Q and K once, of V twice.
  const double blocks = (heads_q * a.lq + 3. * heads_kv * a.lk) / Fp8Plan::block_rows(rates->head_dim);
  const double items = heads_q * ((a.lq + 127) / 128), streams = kMultiprocessors * Fp8Plan::streams(rates->head_dim);
  const double exact = operations / (causal ? rates->exact_causal : rates->exact) +
                       items / kMultiprocessors * kExactItemSeconds + kExactStartSeconds;
  const double fp8 = operations / (causal ? rates->fp8_causal : rates->fp8) + items / streams * kFp8ItemSeconds +
                     blocks / kMultiprocessors * kBlockSeconds + kFp8StartSeconds;
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
