package org.attn4j;

/**
 * A block of memory that tensors are views of: on a GPU ({@link DeviceMemory}) or on the host
 * ({@link HostMemory}).
 */
public abstract sealed class Memory implements AutoCloseable permits DeviceMemory, HostMemory {
  private volatile boolean closed;

  Memory() {}

  /** {@return the bytes of the block} */
  public abstract long byteSize();

  /** {@return whether {@link #close} was called} */
  public final boolean isClosed() {
    return closed;
  }

  /**
   * Gives the memory back if this object owns it. Tensors over it throw {@link
   * ClosedTensorException} from then on. Closing twice does nothing.
   */
  @Override
  public final void close() {
    synchronized (this) {
      if (closed) {
        return;
      }
      closed = true;
    }
    release();
  }

  abstract void release();
}
