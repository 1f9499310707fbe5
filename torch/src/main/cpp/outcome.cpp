#include "outcome.h"

namespace attn4j_torch {
namespace {

struct Text {
  const char* name;
  const char* sentence;
};

constexpr Text kTexts[] = {
    {"SPARGE", "SpargeAttn served the call"},
    {"SAGE", "SageAttention served the call"},
    {"EXACT", "the exact kernel served the call"},
    {"SWITCHED_OFF", "the hook is switched off"},
    {"PASSED", "the call is PyTorch's part of org.attn4j.pytorch.Attn4j"},
    {"OPTIONS", "the options of the scope or the process leave the call to PyTorch"},
    {"MASK", "attn_mask is no boolean mask of keys, the same for all heads and queries"},
    {"DROPOUT", "dropout_p is not 0; our kernels have no dropout"},
    {"RANK", "the tensors are not all of rank 4, or all of rank 3 without enable_gqa"},
    {"GRADIENT", "a gradient is required; our kernels have no backward pass"},
    {"SCALE", "scale is not finite"},
    {"DEVICE", "the tensors are not on one device that our kernels were found for"},
    {"TYPE", "query, key and value are not all Half, or all BFloat16"},
    {"TENSOR", "a tensor is sparse, nested, negated lazily or has no memory"},
    {"STRIDES", "the channels of a tensor don't lie next to each other"},
    {"SHAPE", "a tensor is empty, value has other channels than query, or the sizes don't fit"},
    {"SDPA_BACKENDS", "the program has left only one of PyTorch's own attention kernels enabled, or none"},
    {"THRESHOLDS", "PyTorch's own kernels were measured to be faster at this size"},
    {"KERNELS", "no kernel serves the call"},
    {"FAILED", "a kernel could not be started"},
};
static_assert(sizeof(kTexts) / sizeof(Text) == kOutcomes, "one text for each outcome");

}  // namespace

const char* name_of(Outcome outcome) { return kTexts[static_cast<int>(outcome)].name; }
const char* sentence_of(Outcome outcome) { return kTexts[static_cast<int>(outcome)].sentence; }

}  // namespace attn4j_torch
