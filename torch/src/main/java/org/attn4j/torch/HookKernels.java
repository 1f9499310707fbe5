package org.attn4j.torch;

import java.nio.file.Path;
import java.util.Optional;
import org.attn4j.CudaDevices;
import org.attn4j.runtime.NativeLibrary;

/** Hands the kernels of this process's devices down to the native code. */
final class HookKernels {
  private HookKernels() {}

  /**
   * Those of all GPUs, or of the CPU in tests. Empty, or one sentence that says why there are none.
   */
  static Optional<String> install() {
    Optional<Path> cpuLibrary = HookSettings.cpuLibrary();
    Optional<String> obstacle = installOnGpus();
    return cpuLibrary.isPresent() ? KernelTable.install(-1, 0, cpuLibrary.get()) : obstacle;
  }

  private static Optional<String> installOnGpus() {
    Optional<String> obstacle = NativeLibrary.gpuObstacle().or(KernelTable::abiObstacle);
    if (obstacle.isPresent()) {
      return obstacle;
    }
    boolean served = false;
    for (int device = 0; device < CudaDevices.count(); device++) {
      Optional<Path> library = KernelTable.libraryOf(device);
      if (library.isPresent()) {
        obstacle =
            KernelTable.install(device, CudaDevices.computeCapability(device), library.get());
        if (obstacle.isPresent()) {
          return obstacle;
        }
        served = true;
      }
    }
    return served
        ? Optional.empty()
        : Optional.of("no GPU of this process has a library: " + NativeLibrary.summary());
  }
}
