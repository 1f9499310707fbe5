package org.attn4j;

import org.bytedeco.cuda.cudart.CUstream_st;

/**
 * A CUDA stream, and the scratch memory of the attention calls on it.
 *
 * <p>Scratch memory: a request without a workspace of its own uses {@link #workspace} of its
 * stream. It grows to what the largest call needed and never shrinks, so that a steady state
 * allocates nothing; calls on one stream can share it because they run one after the other. Several
 * host threads may use one CudaStream: their calls are enqueued one at a time. Two CudaStream
 * objects over the same CUDA stream have a workspace each.
 *
 * <p>A graph captured with {@link CudaGraph#capture} takes the workspace with it. A graph captured
 * by other means keeps the addresses but doesn't keep the memory: give its requests a workspace
 * that lives as long as the graph.
 */
public final class CudaStream implements AutoCloseable {
  private static final int MAX_DEVICES = 64;
  private static final CudaStream[] DEFAULTS = new CudaStream[MAX_DEVICES];

  private final CUstream_st handle;
  private final int device;
  private final boolean owned;
  private volatile boolean closed;

  // Guarded by this.
  private DeviceMemory scratch;
  private long scratchToRestore;
  private boolean capturing;
  private boolean scratchCaptured;

  private CudaStream(CUstream_st handle, int device, boolean owned) {
    this.handle = handle;
    this.device = device;
    this.owned = owned;
  }

  /**
   * {@return a new stream that doesn't wait for the legacy default stream}
   *
   * @param device CUDA's number of the device, from 0
   * @throws CudaException if there is no usable GPU
   */
  public static CudaStream create(int device) {
    checkDevice(device);
    return new CudaStream(NativeDevice.createStream(device), device, true);
  }

  /**
   * {@return the legacy default stream of a device} One object per device; closing it frees its
   * workspace alone.
   *
   * @param device CUDA's number of the device, from 0
   */
  public static CudaStream defaultStream(int device) {
    checkDevice(device);
    synchronized (DEFAULTS) {
      CudaStream stream = DEFAULTS[device];
      if (stream == null || stream.closed) {
        stream = new CudaStream(null, device, false);
        DEFAULTS[device] = stream;
      }
      return stream;
    }
  }

  /**
   * {@return a stream that someone else owns, such as PyTorch's {@code CUDAStream.stream()}; null
   * is the legacy default stream} Keep the object as long as the stream is in use: it has the
   * workspace. Closing it frees the workspace and leaves the stream alone.
   *
   * @param device CUDA's number of the device, from 0
   * @param handle CUDA's handle of the stream; null for the legacy default stream
   */
  public static CudaStream wrap(int device, CUstream_st handle) {
    checkDevice(device);
    return new CudaStream(handle, device, false);
  }

  private static void checkDevice(int device) {
    if (device < 0 || device >= MAX_DEVICES) {
      throw new InvalidAttentionArgumentException(
          "device is " + device + "; CUDA device numbers from 0 to 63 are accepted");
    }
  }

  static void requireStream(CudaStream stream) {
    if (stream == null) {
      throw new InvalidAttentionArgumentException(
          "stream is null; a CudaStream is needed, CudaStream.defaultStream(device) for instance");
    }
    stream.requireOpen();
  }

  /** Throws {@link ClosedTensorException} after {@link #close}. */
  public void requireOpen() {
    if (closed) {
      throw new ClosedTensorException("the stream is closed; use it before close()");
    }
  }

  /** {@return CUDA's own handle; null is the legacy default stream} */
  public CUstream_st handle() {
    requireOpen();
    return handle;
  }

  /** {@return the CUDA device number} */
  public int device() {
    return device;
  }

  /** Waits until everything enqueued so far is done. */
  public void synchronize() {
    NativeDevice.synchronize(handle());
  }

  /**
   * Has everything that is enqueued on this stream from now on wait until the stream that {@code
   * event} was recorded in last has passed it. The host doesn't wait. Nothing happens if the event
   * was never recorded.
   *
   * @param event of this or another device
   */
  public void waitFor(CudaEvent event) {
    if (event == null) {
      throw new InvalidAttentionArgumentException(
          "event is null; a CudaEvent that was recorded in another stream is needed");
    }
    NativeDevice.waitFor(handle(), event.handle());
  }

  /**
   * Has everything that is enqueued on this stream from now on wait for what is enqueued on {@code
   * other} so far. The host doesn't wait.
   *
   * @param other a stream of this or another device
   */
  public void waitFor(CudaStream other) {
    requireStream(other);
    requireOpen();
    try (CudaEvent event = CudaEvent.create(other.device)) {
      event.record(other);
      waitFor(event); // the wait stays when the event is gone
    }
  }

  /**
   * {@return this stream's scratch memory, at least {@code bytes} of it, for the next call on this
   * stream} Growing waits for the stream. Hold this object's monitor from here until the call is
   * enqueued if other threads use the stream too.
   *
   * @param bytes how many bytes are needed
   * @throws WorkspaceTooSmallException if it would have to grow while a {@link CudaGraph} is being
   *     captured
   */
  public synchronized DeviceMemory workspace(long bytes) {
    requireOpen();
    if (scratch == null || scratch.byteSize() < bytes) {
      grow(bytes);
    }
    scratchCaptured |= capturing;
    return scratch;
  }

  private void grow(long bytes) {
    long old = scratch == null ? 0 : scratch.byteSize();
    if (capturing) {
      throw new WorkspaceTooSmallException(
          "the stream's workspace has "
              + old
              + " bytes and the request needs "
              + bytes
              + "; memory can't be allocated during a capture: call once before it, or call"
              + " workspace(bytes)");
    }
    if (scratch != null) {
      synchronize();
      scratch.close();
      scratch = null;
    }
    scratch = DeviceMemory.allocate(device, Math.max(Math.max(bytes, old + old / 2), 1 << 20));
  }

  synchronized void beginCapture() {
    if (capturing) {
      throw new InvalidAttentionArgumentException(
          "the stream is being captured already; end that capture first");
    }
    if (scratchToRestore > 0) {
      workspace(scratchToRestore);
      scratchToRestore = 0;
    }
    NativeDevice.beginCapture(handle());
    capturing = true;
    scratchCaptured = false;
  }

  /**
   * Ends the capture's bookkeeping. Returns the workspace that the captured calls use, now the
   * graph's own, or null.
   */
  synchronized DeviceMemory endCapture() {
    capturing = false;
    if (!scratchCaptured) {
      return null;
    }
    DeviceMemory taken = scratch;
    scratchToRestore = taken.byteSize();
    scratch = null;
    scratchCaptured = false;
    return taken;
  }

  /** Waits for the stream, frees its workspace, and destroys it if this object created it. */
  @Override
  public void close() {
    synchronized (this) {
      if (closed) {
        return;
      }
      if (scratch != null) {
        synchronize();
        scratch.close();
        scratch = null;
      }
      closed = true;
    }
    if (owned) {
      NativeDevice.destroyStream(handle);
    }
  }
}
