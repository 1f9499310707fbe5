#include "host/refusal.h"

#include "host/status.h"

namespace attn4j {
namespace {

const char* accumulator_name(int64_t dtype) {
  switch (static_cast<PvAccumDType>(dtype)) {
    case PvAccumDType::kDefault:
      return "default";
    case PvAccumDType::kFp32:
      return "fp32";
    case PvAccumDType::kFp16:
      return "fp16";
    case PvAccumDType::kFp16Fp32:
      return "fp16+fp32";
    case PvAccumDType::kFp32Fp32:
      return "fp32+fp32";
    case PvAccumDType::kFp32Fp16:
      return "fp32+fp16";
  }
  return "unknown";
}

const char* granularity_name(int64_t granularity) {
  switch (static_cast<QuantGranularity>(granularity)) {
    case QuantGranularity::kPerBlock:
      return "per block";
    case QuantGranularity::kPerWarp:
      return "per warp";
    case QuantGranularity::kPerThread:
      return "per thread";
  }
  return "unknown";
}

// Of bits: 1 seen, 2 bias, 4 window.
const char* mask_name(int64_t masks) {
  constexpr const char* kNames[] = {"",       "seen",        "bias",        "seen+bias",
                                    "window", "seen+window", "bias+window", "seen+bias+window"};
  return kNames[masks & 7];
}

}  // namespace

Status report(const Refusal& r, const char* function) {
  const auto found = static_cast<long long>(r.found), accepted = static_cast<long long>(r.accepted);
  switch (r.kind) {
    case RefusalReason::kNone:
      return Status::kOk;
    case RefusalReason::kNotBuilt:
      return fail(Status::kUnsupported, "%s is not built for this architecture (%s)", function, arch_list());
    case RefusalReason::kHeadDim:
      return fail(Status::kUnsupported, "q: head_dim is %lld; %s has kernels up to %lld in this build (%s)", found,
                  function, accepted, arch_list());
    case RefusalReason::kAccumulator:
      return fail(Status::kUnsupported, "pv_accum_dtype: found %s; %s accumulates in %s", accumulator_name(r.found),
                  function, accumulator_name(r.accepted));
    case RefusalReason::kGranularity:
      return fail(Status::kUnsupported, "qk_quant_gran: found %s; %s quantises %s", granularity_name(r.found), function,
                  granularity_name(r.accepted));
    case RefusalReason::kOutput:
      return fail(Status::kUnsupported, "o: its base or strides are not multiples of 16 bytes; %s needs that",
                  function);
    case RefusalReason::kKeys:
      return fail(Status::kUnsupported, "k: sequence length is %lld; %s serves up to %lld", found, function, accepted);
    case RefusalReason::kBlocks:
      return fail(Status::kUnsupported, "q and k have %lld blocks in all; %s serves up to %lld", found, function,
                  accepted);
    case RefusalReason::kPacked:
      return fail(Status::kUnsupported, "packed: %lld sequences are given; %s has no kernel that takes them", found,
                  function);
    case RefusalReason::kMask:
      if (r.accepted == 0) {
        return fail(Status::kUnsupported, "%s: a mask is given; %s has no kernel that reads one", mask_name(r.found),
                    function);
      }
      return fail(Status::kUnsupported,
                  "%s: a mask is given; %s serves masks of keys alone, which are the same for all heads and queries, "
                  "and beside a causal mask on 9.0 alone, in FP8, from %d keys on",
                  mask_name(r.found), function, kLeastHiddenKeys);
    case RefusalReason::kTokenOrder: {
      constexpr const char* kFound[] = {"",           "a kernel without FP8 P V",     "a causal mask",
                                        "kv_lengths", "q and k of different lengths", "a block mask"};
      return fail(Status::kUnsupported,
                  "token_order: is given with %s; SpargeAttn's predicting functions read it for self-attention without "
                  "a mask, in FP8 on 9.0",
                  kFound[found]);
    }
    case RefusalReason::kLimits:
      break;  // the validation has its own sentence
  }
  return fail(Status::kUnsupported, "%s doesn't serve the request", function);
}

}  // namespace attn4j
