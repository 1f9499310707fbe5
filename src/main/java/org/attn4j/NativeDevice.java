package org.attn4j;

import org.attn4j.backend.NativeStatus;
import org.attn4j.natives.global.attn4j;
import org.attn4j.runtime.NativeLibrary;
import org.bytedeco.cuda.cudart.CUevent_st;
import org.bytedeco.cuda.cudart.CUgraphExec_st;
import org.bytedeco.cuda.cudart.CUstream_st;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Pointer;

/**
 * The only class that touches the bindings of device.h: memory, copies, streams, events and graphs.
 */
final class NativeDevice {
  /** A Pointer at any address. */
  private static final class Address extends Pointer {
    Address(long value) {
      address = value;
    }
  }

  private NativeDevice() {}

  /** All of this class goes to one library, and so to one CUDA runtime, whatever the device. */
  static void requireGpu() {
    if (NativeLibrary.gpuObstacle().isPresent()) {
      throw new CudaException("no GPU can be used: " + NativeLibrary.gpuObstacle().get());
    }
    NativeLibrary.useFirst();
  }

  static int deviceCount() {
    if (NativeLibrary.gpuObstacle().isPresent()) {
      return 0;
    }
    NativeLibrary.useFirst();
    return Math.max(attn4j.device_count(), 0);
  }

  static int computeCapability(int device) {
    requireGpu();
    int answer = attn4j.device_compute_capability(device);
    if (answer < 0) {
      throw NativeStatus.exception(-answer, lastError());
    }
    return answer;
  }

  static long allocate(long bytes, int device) {
    requireGpu();
    Pointer memory = attn4j.device_malloc(bytes, device);
    if (memory == null || memory.isNull()) {
      throw new CudaException(lastError());
    }
    return memory.address();
  }

  static void free(long address) {
    NativeLibrary.useFirst();
    check(attn4j.device_free(new Address(address)));
  }

  static void fill(long address, int byteValue, long bytes, CudaStream stream) {
    NativeLibrary.useFirst();
    CudaStream.requireStream(stream);
    if (bytes > 0) {
      check(attn4j.fill_async(new Address(address), byteValue, bytes, stream.handle()));
    }
  }

  static void copyToDevice(long target, HostTensor source, long bytes, CudaStream stream) {
    NativeLibrary.useFirst();
    if (bytes > 0) {
      Pointer host = hostPointer(source, "source");
      check(attn4j.copy_async(new Address(target), host, bytes, stream.handle()));
    }
  }

  static void copyToHost(HostTensor target, long source, long bytes, CudaStream stream) {
    NativeLibrary.useFirst();
    if (bytes > 0) {
      Pointer host = hostPointer(target, "target");
      check(attn4j.copy_async(host, new Address(source), bytes, stream.handle()));
    }
  }

  private static Pointer hostPointer(HostTensor tensor, String name) {
    if (!tensor.memory().buffer().isDirect()) {
      throw new InvalidAttentionArgumentException(
          name + " is a heap buffer; copies to and from a GPU need a direct ByteBuffer");
    }
    long base = new Pointer(tensor.memory().buffer()).address();
    return new Address(base + tensor.byteOffset());
  }

  static CUstream_st createStream(int device) {
    requireGpu();
    return require(attn4j.stream_create(device));
  }

  static void destroyStream(CUstream_st stream) {
    NativeLibrary.useFirst();
    check(attn4j.stream_destroy(stream));
  }

  static void synchronize(CUstream_st stream) {
    requireGpu();
    check(attn4j.stream_synchronize(stream));
  }

  static CUevent_st createEvent(int device) {
    requireGpu();
    return require(attn4j.event_create(device));
  }

  static void destroyEvent(CUevent_st event) {
    NativeLibrary.useFirst();
    check(attn4j.event_destroy(event));
  }

  static void recordEvent(CUevent_st event, CUstream_st stream) {
    NativeLibrary.useFirst();
    check(attn4j.event_record(event, stream));
  }

  static void waitFor(CUstream_st stream, CUevent_st event) {
    NativeLibrary.useFirst();
    check(attn4j.stream_wait_event(stream, event));
  }

  static float elapsedMillis(CUevent_st start, CUevent_st end) {
    NativeLibrary.useFirst();
    float millis = attn4j.event_elapsed_ms(start, end);
    if (millis < 0) {
      throw NativeStatus.exception((int) -millis, lastError());
    }
    return millis;
  }

  static void beginCapture(CUstream_st stream) {
    NativeLibrary.useFirst();
    check(attn4j.graph_begin_capture(stream));
  }

  static CUgraphExec_st endCapture(CUstream_st stream) {
    NativeLibrary.useFirst();
    return require(attn4j.graph_end_capture(stream));
  }

  static void launchGraph(CUgraphExec_st graph, CUstream_st stream) {
    NativeLibrary.useFirst();
    check(attn4j.graph_launch(graph, stream));
  }

  static void destroyGraph(CUgraphExec_st graph) {
    NativeLibrary.useFirst();
    check(attn4j.graph_destroy(graph));
  }

  private static <T extends Pointer> T require(T handle) {
    if (handle == null || handle.isNull()) {
      throw new CudaException(lastError());
    }
    return handle;
  }

  private static void check(int status) {
    if (status != NativeStatus.OK) {
      throw NativeStatus.exception(status, lastError());
    }
  }

  private static String lastError() {
    BytePointer text = attn4j.last_error();
    return text == null || text.isNull() ? "the native library gave no reason" : text.getString();
  }
}
