package org.attn4j.pytorch;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import org.attn4j.Attention;
import org.attn4j.AttentionOptions;
import org.attn4j.BackendMode;
import org.attn4j.CudaDevices;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceTensor;
import org.attn4j.SageKernel;
import org.attn4j.SdpaBackend;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.bytedeco.pytorch.global.torch_cuda;
import org.testng.SkipException;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

/**
 * GPU memory by PyTorch's own statistics, in a process that loads and uses our library before
 * PyTorch's; {@link CudaTest} has it the other way round.
 */
public class CudaMemoryTest {
  @BeforeClass
  public void ourLibraryFirst() {
    if (CudaDevices.count() == 0) {
      throw new SkipException("no GPU that our library can use");
    }
    AttentionOptions exact = require(SdpaBackend.EXACT);
    try (DeviceTensor q = DeviceTensor.allocate(0, DType.FLOAT16, 1, 1, 64, 64)) {
      q.memory().fill(0, CudaStream.defaultStream(0));
      Attention.sdpa(q, q, q, exact).close();
    }
    if (!torch.cuda_is_available()) {
      throw new SkipException("PyTorch's CPU build");
    }
  }

  /** A kernel that needs scratch memory: sageattn would pick the exact one, which needs none. */
  private static AttentionOptions require(SdpaBackend backend) {
    return AttentionOptions.builder()
        .backend(backend)
        .mode(BackendMode.REQUIRE)
        .sageKernel(SageKernel.QK_INT8_PV_FP16)
        .build();
  }

  private static long allocated() {
    try (var stats = torch_cuda.getAllocator().getDeviceStats((byte) 0)) {
      return stats.allocated_bytes().current();
    }
  }

  private static long reserved() {
    try (var stats = torch_cuda.getAllocator().getDeviceStats((byte) 0)) {
      return stats.reserved_bytes().current();
    }
  }

  private static long peak() {
    try (var stats = torch_cuda.getAllocator().getDeviceStats((byte) 0)) {
      return stats.allocated_bytes().peak();
    }
  }

  @Test
  public void memoryStaysFlatAndScratchIsPyTorchs() {
    try (Tensor q =
        torch.randn(new long[] {2, 8, 1024, 64}, Torch.options(ScalarType.Half, true))) {
      AttentionOptions sage = require(SdpaBackend.SAGE);
      for (int i = 0; i < 100; i++) {
        Attn4j.scaled_dot_product_attention(q, q, q, sage).close();
      }
      long before = allocated();
      long held = reserved();
      long pointers = Pointer.totalCount();
      torch_cuda.getAllocator().resetPeakStats((byte) 0);
      Attn4j.scaled_dot_product_attention(q, q, q, sage).close();
      long output = q.nbytes();
      long used = peak() - before;
      System.out.println("one call: output " + output + ", peak " + used + " bytes");
      assertTrue(used > output, "the allocator saw no scratch: " + used);
      for (int i = 0; i < 10_000; i++) {
        Attn4j.scaled_dot_product_attention(q, q, q, sage).close();
      }
      torch_cuda.getCurrentCUDAStream().synchronize();
      assertEquals(allocated(), before);
      assertEquals(reserved(), held);
      assertTrue(Pointer.totalCount() <= pointers + 10, "" + Pointer.totalCount());
    }
  }
}
