#include "host/status.h"

#include <cstdarg>
#include <cstdio>

namespace attn4j {
namespace {

thread_local char error_text[512] = "";

}  // namespace

Status fail(Status status, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(error_text, sizeof error_text, format, arguments);
  va_end(arguments);
  return status;
}

Status check_cuda(cudaError_t error, const char* call) {
  if (error == cudaSuccess) return Status::kOk;
  return fail(Status::kCudaError, "%s failed: %s (%s)", call, cudaGetErrorString(error), cudaGetErrorName(error));
}

const char* last_error() noexcept { return error_text; }

}  // namespace attn4j
