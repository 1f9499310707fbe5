package org.attn4j;

import org.bytedeco.cuda.cudart.CUgraphExec_st;

/**
 * Work captured once and launched many times, at the cost of one launch.
 *
 * <p>The graph keeps the addresses of the tensors, so that new inputs are copied into the old
 * tensors; these must stay open as long as the graph is launched. The scratch memory of the
 * captured calls belongs to the graph from then on: two graphs, or a graph and direct calls, don't
 * share any, but launches of one graph must not overlap each other.
 */
public final class CudaGraph implements AutoCloseable {
  private final CUgraphExec_st handle;
  private final DeviceMemory workspace;
  private volatile boolean closed;

  private CudaGraph(CUgraphExec_st handle, DeviceMemory workspace) {
    this.handle = handle;
    this.workspace = workspace;
  }

  /**
   * Captures what {@code work} enqueues on {@code stream}; nothing of it runs. Call {@code work}
   * once before, so that the stream's workspace has its size.
   *
   * @param stream the stream to capture
   * @param work the calls to capture
   * @return the graph
   * @throws WorkspaceTooSmallException if the workspace would have to grow
   */
  public static CudaGraph capture(CudaStream stream, Runnable work) {
    CudaStream.requireStream(stream);
    if (work == null) {
      throw new InvalidAttentionArgumentException("work is null; the calls to capture are needed");
    }
    stream.beginCapture();
    Throwable failure = null;
    try {
      work.run();
    } catch (RuntimeException | Error e) { // an open capture would poison the stream
      failure = e;
    }
    return end(stream, failure);
  }

  private static CudaGraph end(CudaStream stream, Throwable failure) {
    CUgraphExec_st handle = null;
    Throwable cause = failure;
    try {
      handle = NativeDevice.endCapture(stream.handle());
    } catch (RuntimeException e) {
      if (cause == null) {
        cause = e;
      } else {
        cause.addSuppressed(e);
      }
    }
    DeviceMemory workspace = stream.endCapture();
    if (cause == null) {
      return new CudaGraph(handle, workspace);
    }
    if (handle != null) {
      NativeDevice.destroyGraph(handle);
    }
    if (workspace != null) {
      workspace.close();
    }
    if (cause instanceof Error error) {
      throw error;
    }
    throw (RuntimeException) cause;
  }

  /**
   * Enqueues the captured work on a stream of the same device.
   *
   * @param stream the stream to enqueue on
   */
  public void launch(CudaStream stream) {
    CudaStream.requireStream(stream);
    if (closed) {
      throw new ClosedTensorException("the graph is closed; launch it before close()");
    }
    NativeDevice.launchGraph(handle, stream.handle());
  }

  /** Destroys the graph and frees its scratch memory; CUDA waits for launches in flight. */
  @Override
  public synchronized void close() {
    if (closed) {
      return;
    }
    closed = true;
    if (workspace != null) {
      workspace.close(); // waits for the device
    }
    NativeDevice.destroyGraph(handle);
  }
}
