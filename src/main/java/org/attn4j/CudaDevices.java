package org.attn4j;

/** The GPUs of this process. */
public final class CudaDevices {
  private CudaDevices() {}

  /**
   * {@return the number of GPUs of this process, or 0 if attn4j can run on none of them: without a
   * driver, a GPU or a matching native library} Where the GPUs are of different kinds, {@link
   * Attention#explain} says which of them a request runs on. Never throws.
   */
  public static int count() {
    return NativeDevice.deviceCount();
  }

  /**
   * {@return the compute capability of a device as 10 * major + minor, for example 90}
   *
   * @param device CUDA's number of the device, from 0
   * @throws CudaException if there is no such device
   */
  public static int computeCapability(int device) {
    return NativeDevice.computeCapability(device);
  }
}
