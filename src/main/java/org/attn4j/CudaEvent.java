package org.attn4j;

import org.bytedeco.cuda.cudart.CUevent_st;

/** A mark in a stream: for timing on the GPU's own clock, and for {@link CudaStream#waitFor}. */
public final class CudaEvent implements AutoCloseable {
  private final CUevent_st handle;
  private volatile boolean closed;

  private CudaEvent(CUevent_st handle) {
    this.handle = handle;
  }

  /**
   * {@return a new event on a device}
   *
   * @param device CUDA's number of the device, from 0
   * @throws CudaException if there is no usable GPU
   */
  public static CudaEvent create(int device) {
    return new CudaEvent(NativeDevice.createEvent(device));
  }

  CUevent_st handle() {
    if (closed) {
      throw new ClosedTensorException("the event is closed; use it before close()");
    }
    return handle;
  }

  /**
   * Enqueues the mark.
   *
   * @param stream the stream that is marked
   */
  public void record(CudaStream stream) {
    CudaStream.requireStream(stream);
    NativeDevice.recordEvent(handle(), stream.handle());
  }

  /**
   * Waits until the stream has passed {@code end}; milliseconds of GPU time since this event.
   *
   * @param end the later event, on the same device
   * @return milliseconds
   */
  public float millisUntil(CudaEvent end) {
    if (end == null) {
      throw new InvalidAttentionArgumentException("end is null; the later event is needed");
    }
    return NativeDevice.elapsedMillis(handle(), end.handle());
  }

  @Override
  public synchronized void close() {
    if (!closed) {
      closed = true;
      NativeDevice.destroyEvent(handle);
    }
  }
}
