package org.attn4j;

/** A tensor in GPU memory: input and output of the GPU backends. */
public final class DeviceTensor extends AttentionTensor {
  private final DeviceMemory memory;

  private DeviceTensor(
      DeviceMemory memory, long byteOffset, DType dtype, TensorShape shape, boolean ownsMemory) {
    super(memory, byteOffset, dtype, shape, ownsMemory);
    this.memory = memory;
  }

  /**
   * {@return a contiguous tensor in memory of its own} Its contents are undefined.
   *
   * @param device CUDA's number of the device, from 0
   * @param dtype the type of the elements
   * @param sizes the number of elements along each dimension
   * @throws CudaException if there is no usable GPU or not enough memory
   */
  public static DeviceTensor allocate(int device, DType dtype, long... sizes) {
    TensorShape shape = TensorShape.contiguous(sizes);
    if (dtype == null) {
      throw new InvalidAttentionArgumentException("dtype is null; a tensor needs one");
    }
    DeviceMemory memory = DeviceMemory.allocate(device, TensorBytes.of(shape, dtype));
    return new DeviceTensor(memory, 0, dtype, shape, true);
  }

  /**
   * {@return a view of device memory, its first element at {@code byteOffset}}
   *
   * @param memory the memory that it lies in
   * @param byteOffset of the first element in the memory, a multiple of the element size
   * @param dtype the type of the elements
   * @param shape sizes and strides
   */
  public static DeviceTensor view(
      DeviceMemory memory, long byteOffset, DType dtype, TensorShape shape) {
    return new DeviceTensor(memory, byteOffset, dtype, shape, false);
  }

  /**
   * {@return a view of memory that someone else owns, PyTorch for example: {@code address} is that
   * of element (0, ..., 0)} The memory has to outlive its use here. Strides must not be negative.
   *
   * @param device CUDA's number of the device, from 0
   * @param address of the first element, on the device
   * @param dtype the type of the elements
   * @param shape sizes and strides
   */
  public static DeviceTensor wrap(int device, long address, DType dtype, TensorShape shape) {
    if (dtype == null || shape == null) {
      throw new InvalidAttentionArgumentException(
          (dtype == null ? "dtype" : "shape") + " is null; a tensor needs one");
    }
    long span = shape.elements() == 0 ? 0 : shape.maxOffset() + 1;
    DeviceMemory memory =
        DeviceMemory.wrap(device, address, Math.multiplyExact(span, (long) dtype.byteSize()));
    return new DeviceTensor(memory, 0, dtype, shape, false);
  }

  /**
   * {@return a contiguous copy of a host tensor in device memory of its own; waits for the copy}
   *
   * @param source where the elements come from
   * @param device CUDA's number of the device, from 0
   */
  public static DeviceTensor copyOf(HostTensor source, int device) {
    if (source == null) {
      throw new InvalidAttentionArgumentException("source is null; a host tensor is needed");
    }
    DeviceTensor tensor = allocate(device, source.dtype(), source.shape().sizes());
    try {
      CudaStream stream = CudaStream.defaultStream(device);
      tensor.copyFrom(source, stream);
      stream.synchronize();
    } catch (RuntimeException e) {
      tensor.close();
      throw e;
    }
    return tensor;
  }

  /**
   * {@return a contiguous tensor in device memory of its own, filled with {@code values} in
   * row-major order; waits for the copy}
   *
   * @param device CUDA's number of the device, from 0
   * @param dtype the type of the elements
   * @param values the elements in row-major order
   * @param sizes the number of elements along each dimension
   */
  public static DeviceTensor of(int device, DType dtype, float[] values, long... sizes) {
    try (HostTensor host = HostTensor.of(dtype, values, sizes)) {
      return copyOf(host, device);
    }
  }

  @Override
  public DeviceMemory memory() {
    return memory;
  }

  /** {@return the CUDA device number} */
  public int device() {
    return memory.device();
  }

  /** {@return the device address of element (0, ..., 0)} */
  public long address() {
    return memory.address() + byteOffset();
  }

  @Override
  public boolean isDevice() {
    return true;
  }

  @Override
  public DeviceTensor slice(int dimension, long from, long to) {
    return (DeviceTensor) super.slice(dimension, from, to);
  }

  @Override
  public DeviceTensor select(int dimension, long index) {
    return (DeviceTensor) super.select(dimension, index);
  }

  @Override
  public DeviceTensor permute(int... order) {
    return (DeviceTensor) super.permute(order);
  }

  @Override
  DeviceTensor view(long elementOffset, TensorShape newShape) {
    long offset = byteOffset() + elementOffset * dtype().byteSize();
    return new DeviceTensor(memory, offset, dtype(), newShape, false);
  }

  /**
   * Enqueues a copy of a host tensor into this one. Both are contiguous, of the same sizes and
   * type. The host tensor must not change before the stream has passed the copy.
   *
   * @param source where the elements come from
   * @param stream the stream to enqueue on
   */
  public void copyFrom(HostTensor source, CudaStream stream) {
    checkCopy(source, "source", stream);
    NativeDevice.copyToDevice(address(), source, bytes(), stream);
  }

  /**
   * Enqueues a copy of this tensor into a host tensor. Both are contiguous, of the same sizes and
   * type.
   *
   * @param target where the elements go
   * @param stream the stream to enqueue on
   */
  public void copyTo(HostTensor target, CudaStream stream) {
    checkCopy(target, "target", stream);
    NativeDevice.copyToHost(target, address(), bytes(), stream);
  }

  /**
   * {@return a contiguous copy in host memory, once everything enqueued on {@code stream} so far is
   * done} Any strides.
   *
   * @param stream the stream to wait for
   */
  public HostTensor toHost(CudaStream stream) {
    CudaStream.requireStream(stream);
    if (shape().isContiguous()) {
      HostTensor host = HostTensor.allocate(dtype(), shape().sizes());
      copyTo(host, stream);
      stream.synchronize();
      return host;
    }
    // The smallest block that holds all elements travels; the gaps are left behind on the host.
    long first = shape().minOffset();
    long span = shape().elements() == 0 ? 0 : shape().maxOffset() - first + 1;
    try (HostTensor block = HostTensor.allocate(dtype(), span)) {
      NativeDevice.copyToHost(
          block, address() + first * dtype().byteSize(), span * dtype().byteSize(), stream);
      stream.synchronize();
      HostTensor strided =
          HostTensor.view(block.memory(), -first * dtype().byteSize(), dtype(), shape());
      return HostTensor.of(dtype(), strided.toFloatArray(), shape().sizes());
    }
  }

  /**
   * {@return all elements in row-major order, once everything enqueued on {@code stream} so far is
   * done}
   *
   * @param stream the stream to wait for
   */
  public float[] toFloatArray(CudaStream stream) {
    try (HostTensor host = toHost(stream)) {
      return host.toFloatArray();
    }
  }

  private long bytes() {
    return shape().elements() * dtype().byteSize();
  }

  private void checkCopy(HostTensor host, String name, CudaStream stream) {
    CudaStream.requireStream(stream);
    if (host == null) {
      throw new InvalidAttentionArgumentException(name + " is null; a host tensor is needed");
    }
    if (host.dtype() != dtype() || !host.shape().sameSizes(shape())) {
      throw new InvalidAttentionArgumentException(
          name + " is " + host + "; a copy with " + this + " needs the same type and sizes");
    }
    if (!host.shape().isContiguous() || !shape().isContiguous()) {
      throw new InvalidAttentionArgumentException(
          name + " is " + host + " and this is " + this + "; both must be contiguous for a copy");
    }
  }
}
