package org.attn4j;

/** The GPUs of this process. */
public final class CudaDevices {
  private CudaDevices() {}

  /**
   * The number of GPUs that this library can use; 0 without a driver, a GPU or a matching native
   * library. Never throws.
   */
  public static int count() {
    return NativeDevice.deviceCount();
  }

  /**
   * The compute capability of a device as 10 * major + minor, for example 90.
   *
   * @throws CudaException if there is no such device
   */
  public static int computeCapability(int device) {
    return NativeDevice.computeCapability(device);
  }
}
