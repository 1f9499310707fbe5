// The exported functions of device.h.
#include "attn4j/device.h"

#include "host/status.h"
#include "host/validate.h"

namespace attn4j {
namespace {

// Creates something on a device: null, with the reason recorded, if that fails.
template <class T, class Create>
T* create_on(int32_t device, const char* call, Create create) {
  const DeviceScope scope(device);
  if (check_cuda(scope.error(), "cudaSetDevice") != Status::kOk) return nullptr;
  T* made = nullptr;
  return check_cuda(create(&made), call) == Status::kOk ? made : nullptr;
}

}  // namespace

int32_t device_count() noexcept {
  int count = 0;
  const Status status = check_cuda(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
  return status == Status::kOk ? count : static_cast<int32_t>(negative(status));
}

int32_t device_compute_capability(int32_t device) noexcept {
  int major = 0, minor = 0;
  Status status =
      check_cuda(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "cudaDeviceGetAttribute");
  if (status == Status::kOk) {
    status =
        check_cuda(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "cudaDeviceGetAttribute");
  }
  return status == Status::kOk ? 10 * major + minor : static_cast<int32_t>(negative(status));
}

int32_t device_of(const void* address) noexcept {
  if (address == nullptr) return static_cast<int32_t>(negative(fail(Status::kInvalidArgument, "address: is null")));
  int device = 0;
  const NamedAddress named = {"address", address};
  const Status status = validate_device(&named, 1, &device);
  return status == Status::kOk ? device : static_cast<int32_t>(negative(status));
}

void* device_malloc(int64_t bytes, int32_t device) noexcept {
  if (bytes < 0) {
    fail(Status::kInvalidArgument, "bytes: is %lld; it must not be negative", static_cast<long long>(bytes));
    return nullptr;
  }
  return create_on<void>(device, "cudaMalloc",
                         [bytes](void** p) { return cudaMalloc(p, bytes > 0 ? static_cast<size_t>(bytes) : 1); });
}

Status device_free(void* address) noexcept {
  return address == nullptr ? Status::kOk : check_cuda(cudaFree(address), "cudaFree");
}

Status copy_async(void* destination, const void* source, int64_t bytes, CUstream_st* stream) noexcept {
  if (bytes < 0) {
    return fail(Status::kInvalidArgument, "bytes: is %lld; it must not be negative", static_cast<long long>(bytes));
  }
  return check_cuda(cudaMemcpyAsync(destination, source, static_cast<size_t>(bytes), cudaMemcpyDefault, stream),
                    "cudaMemcpyAsync");
}

Status fill_async(void* destination, int32_t byte_value, int64_t bytes, CUstream_st* stream) noexcept {
  if (bytes < 0) {
    return fail(Status::kInvalidArgument, "bytes: is %lld; it must not be negative", static_cast<long long>(bytes));
  }
  return check_cuda(cudaMemsetAsync(destination, byte_value, static_cast<size_t>(bytes), stream), "cudaMemsetAsync");
}

CUstream_st* stream_create(int32_t device) noexcept {
  return create_on<CUstream_st>(device, "cudaStreamCreateWithFlags",
                                [](CUstream_st** s) { return cudaStreamCreateWithFlags(s, cudaStreamNonBlocking); });
}

Status stream_destroy(CUstream_st* stream) noexcept {
  return check_cuda(cudaStreamDestroy(stream), "cudaStreamDestroy");
}

Status stream_synchronize(CUstream_st* stream) noexcept {
  return check_cuda(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
}

CUevent_st* event_create(int32_t device) noexcept {
  return create_on<CUevent_st>(device, "cudaEventCreate", [](CUevent_st** e) { return cudaEventCreate(e); });
}

Status event_destroy(CUevent_st* event) noexcept { return check_cuda(cudaEventDestroy(event), "cudaEventDestroy"); }

Status event_record(CUevent_st* event, CUstream_st* stream) noexcept {
  return check_cuda(cudaEventRecord(event, stream), "cudaEventRecord");
}

Status stream_wait_event(CUstream_st* stream, CUevent_st* event) noexcept {
  return check_cuda(cudaStreamWaitEvent(stream, event, 0), "cudaStreamWaitEvent");
}

float event_elapsed_ms(CUevent_st* start, CUevent_st* end) noexcept {
  float ms = 0.f;
  Status status = check_cuda(cudaEventSynchronize(end), "cudaEventSynchronize");
  if (status == Status::kOk) status = check_cuda(cudaEventElapsedTime(&ms, start, end), "cudaEventElapsedTime");
  return status == Status::kOk ? ms : static_cast<float>(negative(status));
}

Status graph_begin_capture(CUstream_st* stream) noexcept {
  return check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
}

CUgraphExec_st* graph_end_capture(CUstream_st* stream) noexcept {
  cudaGraph_t graph = nullptr;
  if (check_cuda(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture") != Status::kOk) return nullptr;
  cudaGraphExec_t executable = nullptr;
  const Status status = check_cuda(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
  cudaGraphDestroy(graph);
  return status == Status::kOk ? executable : nullptr;
}

Status graph_launch(CUgraphExec_st* graph, CUstream_st* stream) noexcept {
  return check_cuda(cudaGraphLaunch(graph, stream), "cudaGraphLaunch");
}

Status graph_destroy(CUgraphExec_st* graph) noexcept {
  return check_cuda(cudaGraphExecDestroy(graph), "cudaGraphExecDestroy");
}

}  // namespace attn4j
