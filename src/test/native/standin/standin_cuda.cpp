// A CUDA runtime without a GPU: every call succeeds and does nothing, addresses are device memory of device 0, and
// launches are counted. With standin_kernels.cpp it makes a libattn4j.so whose host code is the real one: what plans
// say can be held against what runs do, and the host's time be measured, on any machine.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <mutex>
#include <vector>

#include "standin.h"

namespace {

// A selection that was enqueued and hasn't run.
struct Selection {
  float* report;
  uint64_t dense_heads[4];
  std::vector<float> shares;
};
std::mutex selecting;
std::vector<Selection> enqueued;
std::vector<float> shares_of_heads;
bool is_held = false, is_capturing = false;

int32_t multiprocessors = 132;
int32_t launched = 0, looked_up = 0;

}  // namespace

namespace standin {

void set_multiprocessors(int32_t count) { multiprocessors = count; }
void launch() { launched++; }
int32_t take_launches() {
  const int32_t count = launched;
  launched = 0;
  return count;
}
int32_t take_lookups() {
  const int32_t count = looked_up;
  looked_up = 0;
  return count;
}

void set_shares(const std::vector<float>& shares) {
  const std::lock_guard<std::mutex> guard(selecting);
  shares_of_heads = shares;
}
void hold(bool held) { is_held = held; }
void capture(bool capturing) { is_capturing = capturing; }
void finish() {
  const std::lock_guard<std::mutex> guard(selecting);
  for (const Selection& s : enqueued) {
    for (size_t h = 0; h < std::min<size_t>(s.shares.size(), 256); h++) {
      s.report[h] = (s.dense_heads[h / 64] >> h % 64 & 1) != 0 ? 0.f : s.shares[h];
    }
  }
  enqueued.clear();
}
void select(float* report, const uint64_t dense_heads[4]) {
  if (report != nullptr) {
    const std::lock_guard<std::mutex> guard(selecting);
    Selection s{report, {}, shares_of_heads};
    std::copy(dense_heads, dense_heads + 4, s.dense_heads);
    enqueued.push_back(s);
  }
  if (!is_held) finish();
}

}  // namespace standin

extern "C" {

cudaError_t cudaGetDeviceCount(int* count) {
  *count = 1;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
  *device = 0;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int) { return cudaSuccess; }
cudaError_t cudaGetLastError() { return cudaSuccess; }
const char* cudaGetErrorString(cudaError_t) { return "stand-in"; }
const char* cudaGetErrorName(cudaError_t) { return "stand-in"; }
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrMultiProcessorCount      ? multiprocessors
           : attribute == cudaDevAttrComputeCapabilityMajor ? 9
                                                            : 0;
  return cudaSuccess;
}
// Addresses below 2^32 are host memory.
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* address) {
  looked_up++;
  *attributes = {};
  attributes->type = reinterpret_cast<uintptr_t>(address) >> 32 == 0 ? cudaMemoryTypeHost : cudaMemoryTypeDevice;
  return cudaSuccess;
}
cudaError_t cudaMalloc(void** address, size_t bytes) {
  static uintptr_t next = uintptr_t{1} << 40;
  *address = reinterpret_cast<void*>(next);
  next += (bytes + 511) / 256 * 256;
  return cudaSuccess;
}
cudaError_t cudaHostAlloc(void** address, size_t bytes, unsigned) {
  *address = std::calloc(bytes, 1);  // never freed, as the library's
  return cudaSuccess;
}
cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode*) { return cudaSuccess; }
cudaError_t cudaStreamIsCapturing(cudaStream_t, cudaStreamCaptureStatus* status) {
  *status = is_capturing ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
cudaError_t cudaFree(void*) { return cudaSuccess; }
cudaError_t cudaMemcpyAsync(void*, const void*, size_t, cudaMemcpyKind, cudaStream_t) { return cudaSuccess; }
cudaError_t cudaMemsetAsync(void*, int, size_t, cudaStream_t) {
  standin::launch();
  return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) {
  *stream = reinterpret_cast<cudaStream_t>(uintptr_t{1} << 41);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode) { return cudaErrorNotSupported; }
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t*) { return cudaErrorNotSupported; }
cudaError_t cudaGraphInstantiate(cudaGraphExec_t*, cudaGraph_t, unsigned long long) { return cudaErrorNotSupported; }
cudaError_t cudaGraphDestroy(cudaGraph_t) { return cudaErrorNotSupported; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t) { return cudaErrorNotSupported; }
cudaError_t cudaGraphLaunch(cudaGraphExec_t, cudaStream_t) { return cudaErrorNotSupported; }
cudaError_t cudaEventCreate(cudaEvent_t*) { return cudaErrorNotSupported; }
cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaErrorNotSupported; }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaErrorNotSupported; }
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return cudaErrorNotSupported; }
cudaError_t cudaEventSynchronize(cudaEvent_t) { return cudaErrorNotSupported; }
cudaError_t cudaEventElapsedTime(float*, cudaEvent_t, cudaEvent_t) { return cudaErrorNotSupported; }

}  // extern "C"
