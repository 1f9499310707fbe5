package org.attn4j.pytorch;

import org.attn4j.CudaDevices;
import org.attn4j.CudaStream;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.cuda.CUDAStream;
import org.bytedeco.pytorch.global.torch_cuda;

/**
 * What is asked of PyTorch's CUDA half. Loaded with the first CUDA tensor: it doesn't exist in
 * PyTorch's CPU build.
 */
final class TorchCuda {
  private static int devices; // 0: not asked yet; a race writes the same number twice

  private static final int[] CAPABILITIES = new int[64]; // a race writes the same number twice

  private TorchCuda() {}

  /** The device number of a CUDA tensor. */
  static int device(Tensor tensor) {
    if (devices == 0) {
      devices = torch_cuda.device_count();
    }
    if (devices == 1) {
      return 0;
    }
    try (Device device = tensor.device()) {
      return device.index();
    }
  }

  /** 10 * major + minor; asked once per device. */
  static int computeCapability(int device) {
    int known = CAPABILITIES[device];
    if (known == 0) {
      known = CudaDevices.count() > device ? CudaDevices.computeCapability(device) : -1;
      CAPABILITIES[device] = known;
    }
    return known;
  }

  /** The calling thread's current stream on a device. */
  static CudaStream currentStream(int device) {
    try (CUDAStream stream = torch_cuda.getCurrentCUDAStream((byte) device)) {
      return CudaStream.wrap(device, stream.stream());
    }
  }

  /** Whether the current stream is being captured into a graph: nothing may be waited for. */
  static boolean capturing() {
    return torch_cuda.currentStreamCaptureStatusMayInitCtx() != 0;
  }
}
