// ONNX Runtime as a host: a custom operator that takes the place of its com.microsoft.MultiHeadAttention, serves what
// our kernels serve, by the hook's kernels and policy, and leaves the rest to ONNX Runtime's own kernel.
//
// https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MultiHeadAttention
#pragma once

#include <cstddef>
#include <cstdint>

#include "outcome.h"

namespace attn4j_torch::ort {

void read_counts(int64_t counts[kOutcomes]);

// What became of the calling thread's last call: one sentence, or an empty one.
void explain_last(char* sentence, size_t size);

}  // namespace attn4j_torch::ort
