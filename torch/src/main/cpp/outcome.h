// What became of a call. The order is that of org.attn4j.torch.HookOutcome; HookOutcomeTest compares the two.
#pragma once

namespace attn4j_torch {

enum class Outcome {
  kSparge,  // served
  kSage,
  kExact,
  kSwitchedOff,  // left to PyTorch, as all that follow
  kPassed,
  kOptions,
  kMask,
  kDropout,
  kRank,
  kGradient,
  kScale,
  kDevice,
  kType,
  kTensor,
  kStrides,
  kShape,
  kSdpaBackends,
  kThresholds,
  kKernels,
  kFailed,
};
constexpr int kOutcomes = 20;

constexpr bool is_served(Outcome outcome) { return outcome <= Outcome::kExact; }

// The constant's name in Java, and one sentence.
const char* name_of(Outcome outcome);
const char* sentence_of(Outcome outcome);

}  // namespace attn4j_torch
