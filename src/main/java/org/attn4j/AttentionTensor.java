package org.attn4j;

/**
 * An immutable view of memory: data type, shape, and where it starts. Views of one block may
 * overlap.
 *
 * <p>A tensor from {@code allocate} owns its memory and frees it on {@link #close}. A view made
 * from another tensor or from a {@link Memory} doesn't: closing it does nothing, and it must not be
 * used after its memory is closed.
 */
public abstract sealed class AttentionTensor implements AutoCloseable
    permits DeviceTensor, HostTensor {
  private final Memory memory;
  private final long byteOffset;
  private final DType dtype;
  private final TensorShape shape;
  private final boolean ownsMemory;

  AttentionTensor(
      Memory memory, long byteOffset, DType dtype, TensorShape shape, boolean ownsMemory) {
    if (memory == null || dtype == null || shape == null) {
      String missing = memory == null ? "memory" : dtype == null ? "dtype" : "shape";
      throw new InvalidAttentionArgumentException(missing + " is null; a tensor needs one");
    }
    this.memory = memory;
    this.byteOffset = byteOffset;
    this.dtype = dtype;
    this.shape = shape;
    this.ownsMemory = ownsMemory;
    checkBounds();
  }

  private void checkBounds() {
    int elementSize = dtype.byteSize();
    if (byteOffset < 0 || byteOffset % elementSize != 0) {
      throw new InvalidAttentionArgumentException(
          "byteOffset is "
              + byteOffset
              + "; a multiple of the element size "
              + elementSize
              + " from 0 is accepted");
    }
    if (shape.elements() == 0) {
      return;
    }
    long first = byteOffset / elementSize + shape.minOffset();
    long last = byteOffset / elementSize + shape.maxOffset();
    if (first < 0 || last < 0 || last >= memory.byteSize() / elementSize) {
      throw new InvalidAttentionArgumentException(
          "the view "
              + shape
              + " of "
              + dtype
              + " at byte "
              + byteOffset
              + " reaches elements "
              + first
              + " to "
              + last
              + "; the memory holds "
              + memory.byteSize() / elementSize);
    }
  }

  /** {@return the memory that this tensor is a view of} */
  public Memory memory() {
    return memory;
  }

  /** {@return where element (0, ..., 0) lies in the memory, in bytes} */
  public final long byteOffset() {
    return byteOffset;
  }

  /** {@return the element type} */
  public final DType dtype() {
    return dtype;
  }

  /** {@return sizes and strides} */
  public final TensorShape shape() {
    return shape;
  }

  /**
   * {@return the number of elements along a dimension}
   *
   * @param dimension the dimension, from 0
   */
  public final long size(int dimension) {
    return shape.size(dimension);
  }

  /**
   * {@return the distance between neighbours along a dimension, in elements}
   *
   * @param dimension the dimension, from 0
   */
  public final long stride(int dimension) {
    return shape.stride(dimension);
  }

  /** {@return whether this tensor lies in GPU memory} */
  public abstract boolean isDevice();

  /** {@return whether the memory was closed} */
  public final boolean isClosed() {
    return memory.isClosed();
  }

  /**
   * {@return the elements {@code from} (included) to {@code to} (excluded) along a dimension}
   * Shares the memory.
   *
   * @param dimension the dimension, from 0
   * @param from the first index
   * @param to the index behind the last
   */
  public AttentionTensor slice(int dimension, long from, long to) {
    shape.checkDimension(dimension);
    if (from < 0 || to < from || to > shape.size(dimension)) {
      throw new InvalidAttentionArgumentException(
          "slice is "
              + from
              + " to "
              + to
              + "; dimension "
              + dimension
              + " has "
              + shape.size(dimension)
              + " elements");
    }
    TensorShape cut = shape.withSize(dimension, to - from);
    return view(cut.elements() == 0 ? 0 : from * shape.stride(dimension), cut);
  }

  /**
   * {@return the tensor of one rank less at {@code index} of a dimension} Shares the memory.
   *
   * @param dimension the dimension, from 0
   * @param index from 0
   */
  public AttentionTensor select(int dimension, long index) {
    shape.checkDimension(dimension);
    if (index < 0 || index >= shape.size(dimension)) {
      throw new InvalidAttentionArgumentException(
          "index is "
              + index
              + "; dimension "
              + dimension
              + " has "
              + shape.size(dimension)
              + " elements");
    }
    TensorShape rest = shape.without(dimension);
    return view(rest.elements() == 0 ? 0 : index * shape.stride(dimension), rest);
  }

  /**
   * {@return the same elements with the dimensions in another order} Shares the memory.
   *
   * @param order for each dimension of the result, the one that it was
   */
  public AttentionTensor permute(int... order) {
    return view(0, shape.permute(order));
  }

  abstract AttentionTensor view(long elementOffset, TensorShape newShape);

  /** Frees the memory if this tensor owns it, which it does if it came from {@code allocate}. */
  @Override
  public final void close() {
    if (ownsMemory) {
      memory.close();
    }
  }

  @Override
  public String toString() {
    return (isDevice() ? "device " : "host ") + dtype + " " + shape + (isClosed() ? " closed" : "");
  }
}
