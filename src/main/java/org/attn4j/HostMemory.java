package org.attn4j;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** Host memory in the machine's byte order, at most 2147483647 bytes: a ByteBuffer. */
public final class HostMemory extends Memory {
  private ByteBuffer buffer;

  private HostMemory(ByteBuffer buffer) {
    this.buffer = buffer;
  }

  /**
   * {@return direct memory of the JVM, zeroed} It is freed by the garbage collector after {@link
   * #close}.
   *
   * @param bytes how many bytes
   */
  public static HostMemory allocate(long bytes) {
    if (bytes < 0 || bytes > Integer.MAX_VALUE) {
      throw new InvalidAttentionArgumentException(
          "bytes is " + bytes + "; host memory takes 0 to " + Integer.MAX_VALUE);
    }
    return new HostMemory(ByteBuffer.allocateDirect((int) bytes).order(ByteOrder.nativeOrder()));
  }

  /**
   * {@return a view of the bytes between the buffer's position and limit; the buffer's byte order
   * is not read} The buffer stays the caller's. It must be direct if its contents are to be copied
   * to or from a GPU.
   *
   * @param buffer the bytes
   */
  public static HostMemory wrap(ByteBuffer buffer) {
    if (buffer == null) {
      throw new InvalidAttentionArgumentException("buffer is null; a ByteBuffer is needed");
    }
    return new HostMemory(buffer.slice().order(ByteOrder.nativeOrder()));
  }

  /** The bytes of the block in the machine's order, from index 0. */
  ByteBuffer buffer() {
    ByteBuffer current = buffer;
    if (current == null) {
      throw new ClosedTensorException("the host memory is closed; use it before close()");
    }
    return current;
  }

  @Override
  public long byteSize() {
    return buffer().capacity();
  }

  @Override
  void release() {
    buffer = null;
  }
}
