package org.attn4j;

/**
 * A tensor in host memory: input and output of the CPU backend, source and target of copies to a
 * GPU.
 */
public final class HostTensor extends AttentionTensor {
  private final HostMemory memory;

  private HostTensor(
      HostMemory memory, long byteOffset, DType dtype, TensorShape shape, boolean ownsMemory) {
    super(memory, byteOffset, dtype, shape, ownsMemory);
    this.memory = memory;
  }

  /**
   * {@return a contiguous tensor of zeros in memory of its own}
   *
   * @param dtype the type of the elements
   * @param sizes the number of elements along each dimension
   */
  public static HostTensor allocate(DType dtype, long... sizes) {
    TensorShape shape = TensorShape.contiguous(sizes);
    if (dtype == null) {
      throw new InvalidAttentionArgumentException("dtype is null; a tensor needs one");
    }
    HostMemory memory = HostMemory.allocate(TensorBytes.of(shape, dtype));
    return new HostTensor(memory, 0, dtype, shape, true);
  }

  /**
   * {@return a view of host memory, its first element at {@code byteOffset}}
   *
   * @param memory the memory that it lies in
   * @param byteOffset of the first element in the memory, a multiple of the element size
   * @param dtype the type of the elements
   * @param shape sizes and strides
   */
  public static HostTensor view(
      HostMemory memory, long byteOffset, DType dtype, TensorShape shape) {
    return new HostTensor(memory, byteOffset, dtype, shape, false);
  }

  /**
   * {@return a contiguous tensor in memory of its own, filled with {@code values} in row-major
   * order, rounded to nearest even}
   *
   * @param dtype the type of the elements
   * @param values the elements in row-major order
   * @param sizes the number of elements along each dimension
   */
  public static HostTensor of(DType dtype, float[] values, long... sizes) {
    HostTensor tensor = allocate(dtype, sizes);
    tensor.copyFrom(values);
    return tensor;
  }

  /**
   * {@return a contiguous INT32 tensor of rank 1 in memory of its own, such as key lengths}
   *
   * @param values the elements in row-major order
   */
  public static HostTensor ofInts(int... values) {
    if (values == null) {
      throw new InvalidAttentionArgumentException("values is null; an int array is needed");
    }
    HostTensor tensor = allocate(DType.INT32, values.length);
    tensor.memory.buffer().asIntBuffer().put(values);
    return tensor;
  }

  @Override
  public HostMemory memory() {
    return memory;
  }

  @Override
  public boolean isDevice() {
    return false;
  }

  @Override
  public HostTensor slice(int dimension, long from, long to) {
    return (HostTensor) super.slice(dimension, from, to);
  }

  @Override
  public HostTensor select(int dimension, long index) {
    return (HostTensor) super.select(dimension, index);
  }

  @Override
  public HostTensor permute(int... order) {
    return (HostTensor) super.permute(order);
  }

  @Override
  HostTensor view(long elementOffset, TensorShape newShape) {
    long offset = byteOffset() + elementOffset * dtype().byteSize();
    return new HostTensor(memory, offset, dtype(), newShape, false);
  }

  /** The element offset of an index relative to the first element. */
  private long offsetOf(long... index) {
    if (index.length != shape().rank()) {
      throw new InvalidAttentionArgumentException(
          "index has " + index.length + " entries; the tensor has rank " + shape().rank());
    }
    long offset = 0;
    for (int i = 0; i < index.length; i++) {
      if (index[i] < 0 || index[i] >= size(i)) {
        throw new InvalidAttentionArgumentException(
            "index[" + i + "] is " + index[i] + "; the dimension has " + size(i) + " elements");
      }
      offset += index[i] * stride(i);
    }
    return offset;
  }

  /**
   * {@return one element as a float}
   *
   * @param index one index per dimension, from 0
   */
  public float get(long... index) {
    return elements().read(position(offsetOf(index)));
  }

  /**
   * {@return one element of an INT32 tensor}
   *
   * @param index one index per dimension, from 0
   */
  public int getInt(long... index) {
    if (dtype() != DType.INT32) {
      throw new InvalidAttentionArgumentException(
          "dtype is " + dtype() + "; getInt reads INT32 tensors");
    }
    return memory.buffer().getInt(position(offsetOf(index)));
  }

  /**
   * Sets one element, rounded to nearest even.
   *
   * @param value the element
   * @param index one index per dimension, from 0
   */
  public void set(float value, long... index) {
    elements().write(position(offsetOf(index)), value);
  }

  /**
   * Reads {@code count} elements, {@code stride} apart, from an element offset relative to the
   * first element.
   *
   * @param elementOffset relative to the tensor's first element
   * @param stride between the elements, in elements
   * @param count how many
   * @param target where the elements go
   */
  public void read(long elementOffset, long stride, int count, float[] target) {
    int step = (int) (stride * dtype().byteSize());
    elements().read(position(elementOffset), step, count, target);
  }

  /**
   * Writes {@code count} elements, {@code stride} apart, to an element offset relative to the first
   * element.
   *
   * @param elementOffset relative to the tensor's first element
   * @param stride between the elements, in elements
   * @param count how many
   * @param source where the elements come from
   */
  public void write(long elementOffset, long stride, int count, float[] source) {
    int step = (int) (stride * dtype().byteSize());
    elements().write(position(elementOffset), step, count, source);
  }

  private ElementIo elements() {
    return new ElementIo(memory.buffer(), dtype());
  }

  private int position(long elementOffset) {
    return (int) (byteOffset() + elementOffset * dtype().byteSize());
  }

  /**
   * Sets all elements from values in row-major order, rounded to nearest even.
   *
   * @param values the elements in row-major order
   */
  public void copyFrom(float[] values) {
    if (values == null || values.length != shape().elements()) {
      throw new InvalidAttentionArgumentException(
          "values "
              + (values == null ? "is null" : "has " + values.length + " entries")
              + "; the tensor has "
              + shape().elements()
              + " elements");
    }
    ElementIo elements = elements();
    if (shape().isContiguous()) {
      elements.write(position(0), dtype().byteSize(), values.length, values);
    } else {
      forEachElement((index, position) -> elements.write(position, values[index]));
    }
  }

  /** {@return all elements in row-major order} */
  public float[] toFloatArray() {
    if (shape().elements() > Integer.MAX_VALUE - 8) {
      throw new InvalidAttentionArgumentException(
          "the tensor has " + shape().elements() + " elements; a Java array holds 2147483639");
    }
    ElementIo elements = elements();
    float[] values = new float[(int) shape().elements()];
    if (shape().isContiguous()) {
      elements.read(position(0), dtype().byteSize(), values.length, values);
    } else {
      forEachElement((index, position) -> values[index] = elements.read(position));
    }
    return values;
  }

  private interface ElementVisitor {
    void visit(int index, int bytePosition);
  }

  private void forEachElement(ElementVisitor visitor) {
    int rank = shape().rank();
    long[] counter = new long[rank];
    long offset = 0;
    int elements = (int) shape().elements();
    for (int index = 0; index < elements; index++) {
      visitor.visit(index, position(offset));
      for (int i = rank - 1; i >= 0; i--) {
        offset += stride(i);
        if (++counter[i] < size(i)) {
          break;
        }
        offset -= counter[i] * stride(i);
        counter[i] = 0;
      }
    }
  }
}
