package org.attn4j.pytorch;

import static org.testng.Assert.assertTrue;

import java.util.ArrayList;
import java.util.List;
import org.attn4j.AttentionOptions;
import org.attn4j.BackendMode;
import org.attn4j.CudaGraph;
import org.attn4j.CudaStream;
import org.attn4j.SageKernel;
import org.attn4j.SdpaBackend;
import org.bytedeco.javacpp.LongPointer;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.cuda.CUDAStream;
import org.bytedeco.pytorch.cuda.DeviceAssertionsDataVectorCUDAKernelLaunchInfoVectorPair;
import org.bytedeco.pytorch.cuda.StreamFilter;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.bytedeco.pytorch.global.torch_cuda;
import org.testng.SkipException;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * Capture into a graph the way PyTorch captures its own operations: what is allocated meanwhile
 * comes from a pool of the graph's own, here with nothing cached before. Needs a GPU and PyTorch's
 * CUDA build.
 */
public class CudaGraphPoolTest {
  private static final long[] SIZES = {2, 8, 1024, 64};

  @BeforeClass
  public void needsCuda() {
    if (!torch.cuda_is_available()) {
      throw new SkipException("no CUDA device, or PyTorch's CPU build");
    }
  }

  @DataProvider
  public Object[][] backends() {
    return new Object[][] {{SdpaBackend.EXACT, 1_000_001L}, {SdpaBackend.SAGE, 1_000_002L}};
  }

  @Test(dataProvider = "backends")
  @SuppressWarnings("try") // the scopes are there to be closed
  public void replaysFromAPoolOfPyTorchs(SdpaBackend backend, long poolNumber) {
    CUDAStream before = torch_cuda.getCurrentCUDAStream();
    AttentionOptions options =
        AttentionOptions.builder()
            .backend(backend)
            .mode(BackendMode.REQUIRE)
            .sageKernel(SageKernel.QK_INT8_PV_FP16) // has scratch memory
            .build();
    try (PointerScope scope = new PointerScope();
        LongPointer numbers = new LongPointer(0, poolNumber)) {
      torch_cuda.setCurrentCUDAStream(torch_cuda.getStreamFromPool());
      torch.manual_seed(17);
      Tensor q = draw();
      Tensor fresh = draw();
      Tensor expected = Attn4j.scaled_dot_product_attention(fresh, fresh, fresh, options);
      // The preset's own handle would be freed as an object of another type: docs/pytorch.md.
      var pool = new DeviceAssertionsDataVectorCUDAKernelLaunchInfoVectorPair(numbers);
      AnyStream anyStream = new AnyStream();
      List<Tensor> captured = new ArrayList<>();
      CudaStream stream = TorchCuda.currentStream(0);
      torch_cuda.beginAllocateToPool((byte) 0, pool, anyStream);
      CudaGraph graph;
      try {
        graph =
            CudaGraph.capture(
                stream, () -> captured.add(Attn4j.scaled_dot_product_attention(q, q, q, options)));
      } finally {
        torch_cuda.endAllocateToPool((byte) 0, pool);
      }
      for (int i = 0; i < 20; i++) {
        draw().fill_(new Scalar(i)); // nobody else gets the graph's memory
      }
      q.copy_(fresh);
      graph.launch(stream);
      stream.synchronize();
      graph.close();
      stream.close();
      assertTrue(captured.get(0).equal(expected), "the replay differs");
    } finally {
      torch_cuda.setCurrentCUDAStream(before);
    }
  }

  private static Tensor draw() {
    return torch.randn(SIZES, Torch.options(ScalarType.Half, true));
  }

  private static final class AnyStream extends StreamFilter {
    @Override
    public boolean call(Pointer stream) {
      return true;
    }
  }
}
