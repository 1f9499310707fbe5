package org.attn4j.gpu;

import java.util.List;
import org.attn4j.Attention;
import org.attn4j.BackendInfo;
import org.attn4j.CudaDevices;
import org.testng.SkipException;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.DataProvider;

/** Skips a suite, with the reason, where there is no GPU. */
abstract class GpuTestBase {
  /** Seed of everything random; {@code -Dattn4j.test.seed} changes it. */
  static final long SEED = Long.getLong("attn4j.test.seed", 20261123);

  static final int DEVICE = 0;

  @BeforeClass(alwaysRun = true)
  public void requireGpu() {
    BackendInfo exact =
        Attention.backends().stream().filter(b -> b.name().equals("exact")).findFirst().get();
    if (!exact.ready()) {
      throw new SkipException("no GPU: " + exact.reason());
    }
    if (CudaDevices.count() == 0) {
      throw new SkipException("no GPU: CUDA reports no device");
    }
  }

  /** One row per kernel of this machine. Without a GPU one row, for the skip to be seen. */
  @DataProvider
  public Object[][] kernels() {
    if (CudaDevices.count() == 0) {
      return new Object[][] {{GpuKernel.EXACT}};
    }
    List<GpuKernel> kernels = GpuKernel.available();
    return kernels.stream().map(kernel -> new Object[] {kernel}).toArray(Object[][]::new);
  }
}
