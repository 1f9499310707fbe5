package org.attn4j;

/**
 * A block of GPU memory, aligned to 256 bytes when allocated here.
 *
 * <p>{@link #close} frees it; CUDA waits for the work in flight first. Nothing frees it behind the
 * program's back: the garbage collector doesn't, because a free on its thread could break a graph
 * capture elsewhere.
 */
public final class DeviceMemory extends Memory {
  private final long address;
  private final long byteSize;
  private final int device;
  private final boolean owned;

  private DeviceMemory(long address, long byteSize, int device, boolean owned) {
    this.address = address;
    this.byteSize = byteSize;
    this.device = device;
    this.owned = owned;
  }

  /**
   * Allocates memory on a device. Its contents are undefined.
   *
   * @param device CUDA's number of the device, from 0
   * @param bytes how many bytes
   * @return the memory
   * @throws CudaException if there is no usable GPU or not enough memory
   */
  public static DeviceMemory allocate(int device, long bytes) {
    if (bytes < 0) {
      throw new InvalidAttentionArgumentException("bytes is " + bytes + "; 0 or more are accepted");
    }
    checkDevice(device);
    long address = NativeDevice.allocate(Math.max(bytes, 1), device);
    return new DeviceMemory(address, bytes, device, true);
  }

  /**
   * {@return memory that someone else owns, PyTorch for example} It has to outlive its use here;
   * {@link #close} doesn't free it.
   *
   * @param device CUDA's number of the device, from 0
   * @param address of the first byte, on the device
   * @param bytes how many bytes
   */
  public static DeviceMemory wrap(int device, long address, long bytes) {
    checkDevice(device);
    if (bytes < 0) {
      throw new InvalidAttentionArgumentException("bytes is " + bytes + "; 0 or more are accepted");
    }
    if (address == 0 && bytes > 0) {
      throw new InvalidAttentionArgumentException(
          "address is null; the address of " + bytes + " bytes of device memory is needed");
    }
    return new DeviceMemory(address, bytes, device, false);
  }

  private static void checkDevice(int device) {
    if (device < 0) {
      throw new InvalidAttentionArgumentException(
          "device is " + device + "; CUDA device numbers start at 0");
    }
  }

  /** {@return the CUDA device number} */
  public int device() {
    return device;
  }

  /** {@return the address on the device} */
  public long address() {
    if (isClosed()) {
      throw new ClosedTensorException("the device memory is closed; use it before close()");
    }
    return address;
  }

  @Override
  public long byteSize() {
    return byteSize;
  }

  /** {@return whether it was allocated here, and {@link #close} frees it} */
  public boolean isOwned() {
    return owned;
  }

  /**
   * Enqueues a fill of the whole block with one byte value.
   *
   * @param byteValue from 0 to 255; the lowest 8 bits are taken
   * @param stream the stream to enqueue on
   */
  public void fill(int byteValue, CudaStream stream) {
    NativeDevice.fill(address(), byteValue, byteSize, stream);
  }

  @Override
  void release() {
    if (owned) {
      NativeDevice.free(address);
    }
  }
}
