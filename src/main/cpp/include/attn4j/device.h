// attn4j: the few CUDA runtime calls that a program without PyTorch needs to use the library: memory, copies, streams,
// events and graphs. A thin layer over the CUDA runtime inside this library; nothing here is needed by a program whose
// framework already does it. Handles are CUDA's own and may be exchanged with any other CUDA library of the process.
#pragma once

#include <cstdint>

#include "attn4j/attn4j.h"

struct CUevent_st;
struct CUgraphExec_st;

namespace attn4j {

/// The number of CUDA devices, or -status with the reason in last_error() (no driver, for example).
ATTN4J_API int32_t device_count() noexcept;

/// Compute capability of a device as 10 * major + minor, or -status.
ATTN4J_API int32_t device_compute_capability(int32_t device) noexcept;

/// The device that an address belongs to; -status for host memory and for addresses that CUDA doesn't know.
ATTN4J_API int32_t device_of(const void* address) noexcept;

/// Device memory, aligned to 256 bytes. Null with the reason in last_error() if there is none left. Freeing null is
/// fine.
ATTN4J_API void* device_malloc(int64_t bytes, int32_t device) noexcept;
ATTN4J_API Status device_free(void* address) noexcept;

/// Enqueue a copy (either side may be host or device memory) or a byte fill. A copy from or to pageable host memory has
/// finished with the host buffer when the call returns from reading it; use stream_synchronize before reading results.
ATTN4J_API Status copy_async(void* destination, const void* source, int64_t bytes, CUstream_st* stream) noexcept;
ATTN4J_API Status fill_async(void* destination, int32_t byte_value, int64_t bytes, CUstream_st* stream) noexcept;

/// A stream that doesn't wait for the legacy default stream, on the given device. Null with the reason in last_error().
ATTN4J_API CUstream_st* stream_create(int32_t device) noexcept;
ATTN4J_API Status stream_destroy(CUstream_st* stream) noexcept;
ATTN4J_API Status stream_synchronize(CUstream_st* stream) noexcept;

/// Events, for timing and order. stream_wait_event has whatever is enqueued on `stream` from now on wait for what the
/// event's last record marked, without the host: the stream may be of another device. event_elapsed_ms waits for `end`
/// and returns the milliseconds between the two, or a negative status.
ATTN4J_API CUevent_st* event_create(int32_t device) noexcept;
ATTN4J_API Status event_destroy(CUevent_st* event) noexcept;
ATTN4J_API Status event_record(CUevent_st* event, CUstream_st* stream) noexcept;
ATTN4J_API Status stream_wait_event(CUstream_st* stream, CUevent_st* event) noexcept;
ATTN4J_API float event_elapsed_ms(CUevent_st* start, CUevent_st* end) noexcept;

/// Everything enqueued on `stream` between begin and end becomes one graph that can be launched again and again.
ATTN4J_API Status graph_begin_capture(CUstream_st* stream) noexcept;
ATTN4J_API CUgraphExec_st* graph_end_capture(CUstream_st* stream) noexcept;  ///< null with the reason in last_error()
ATTN4J_API Status graph_launch(CUgraphExec_st* graph, CUstream_st* stream) noexcept;
ATTN4J_API Status graph_destroy(CUgraphExec_st* graph) noexcept;

}  // namespace attn4j
