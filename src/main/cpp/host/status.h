// The error layer: a status code plus one sentence per host thread.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "attn4j/attn4j.h"

namespace attn4j {

// Records the sentence and returns the status. printf-style, cut off at 511 characters.
__attribute__((format(printf, 2, 3))) Status fail(Status status, const char* format, ...);

// kOk, or kCudaError with "CALL failed: CUDA's message".
Status check_cuda(cudaError_t error, const char* call);

// What a function that returns a size or a count returns for a failure.
constexpr int64_t negative(Status status) { return -static_cast<int64_t>(status); }

// Leaves the function with the status of `call` unless that is kOk.
#define ATTN4J_RETURN_IF_ERROR(call) \
  if (const ::attn4j::Status status_ = (call); status_ != ::attn4j::Status::kOk) return status_

}  // namespace attn4j
