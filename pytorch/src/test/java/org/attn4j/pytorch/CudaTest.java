package org.attn4j.pytorch;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.ArrayList;
import java.util.List;
import org.attn4j.AttentionOptions;
import org.attn4j.BackendMode;
import org.attn4j.CudaGraph;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceTensor;
import org.attn4j.SageKernel;
import org.attn4j.SdpaBackend;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.cuda.CUDAStream;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.bytedeco.pytorch.global.torch_cuda;
import org.testng.SkipException;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

/** The drop-in on CUDA tensors. Needs a GPU and PyTorch's CUDA build. */
public class CudaTest {
  private static final TensorShapes BIG = new TensorShapes(2, 8, 1024, 64);

  private record TensorShapes(long batch, long heads, long length, long headDim) {
    Tensor draw(ScalarType type) {
      return torch.randn(new long[] {batch, heads, length, headDim}, Torch.options(type, true));
    }
  }

  @BeforeClass
  public void needsCuda() {
    if (!torch.cuda_is_available()) {
      throw new SkipException("no CUDA device, or PyTorch's CPU build");
    }
  }

  @BeforeMethod
  public void seed() {
    torch.manual_seed(11);
    Attn4j.setThresholds(Thresholds.NONE); // the whole chain is to be tested
  }

  @AfterMethod
  public void reset() {
    Attn4j.checkFirst(0);
    Attn4j.inspectDeviceMasks(false);
    Attn4j.setThresholds(Thresholds.MEASURED);
  }

  /** A kernel that quantises: left to itself, sageattn picks the exact one at these sizes. */
  private static AttentionOptions require(SdpaBackend backend) {
    return AttentionOptions.builder()
        .backend(backend)
        .mode(BackendMode.REQUIRE)
        .sageKernel(SageKernel.QK_INT8_PV_FP16)
        .build();
  }

  // As in CudaRandomTest, for thousands of rows in fp16 at the default scale.
  private static double tolerance(SdpaBackend by) {
    return 0x1p-9 + (by == SdpaBackend.SAGE ? 0.014 : 0);
  }

  @Test
  @SuppressWarnings("try")
  public void whatIsNotServedIsPyTorchsOwn() {
    try (PointerScope scope = new PointerScope()) {
      Tensor q = BIG.draw(ScalarType.Float);
      assertTrue(
          Attn4j.scaled_dot_product_attention(q, q, q)
              .equal(torch.scaled_dot_product_attention(q, q, q)));
      Tensor half = q.to(ScalarType.Half);
      Tensor mask = torch.randn(new long[] {1024, 1024}, Torch.options(ScalarType.Half, true));
      TensorOptional optional = new TensorOptional(mask);
      assertTrue(
          Attn4j.scaled_dot_product_attention(half, half, half, optional, 0, false, null, false)
              .equal(
                  torch.scaled_dot_product_attention(
                      half,
                      half,
                      half,
                      optional,
                      0,
                      false,
                      new org.bytedeco.pytorch.DoubleOptional(),
                      false)));
    }
  }

  /** A boolean mask of keys is served without a look at it, whatever lies behind it. */
  @Test
  @SuppressWarnings("try")
  public void masksOfKeysAreServed() {
    try (PointerScope scope = new PointerScope()) {
      Tensor q = torch.randn(new long[] {2, 4, 300, 64}, Torch.options(ScalarType.Half, true));
      Tensor k = torch.randn(new long[] {2, 4, 500, 64}, Torch.options(ScalarType.Half, true));
      Tensor shown =
          torch
              .rand(new long[] {2, 1, 1, 500}, Torch.options(ScalarType.Float, true))
              .gt(new Scalar(0.4));
      TensorOptional mask = new TensorOptional(shown);
      DoubleOptional scale = new DoubleOptional();
      Tensor expected = torch.scaled_dot_product_attention(q, k, k, mask, 0, false, scale, false);
      Tensor hidden = shown.logical_not().reshape(2, 1, 500, 1);
      Tensor spoilt = k.masked_fill(hidden, new Scalar(Double.NaN));
      for (SdpaBackend backend : List.of(SdpaBackend.SAGE, SdpaBackend.EXACT)) {
        try (AttentionScope choice = Attn4j.use(require(backend))) {
          Tensor actual =
              Attn4j.scaled_dot_product_attention(q, spoilt, spoilt, mask, 0, false, scale, false);
          double l1 = Torch.Difference.of(actual, expected).relativeL1();
          assertTrue(l1 <= tolerance(backend), backend + ": " + l1);
        }
      }
    }
  }

  /** The inputs are still being made on a stream of their own when attention is called. */
  @Test
  @SuppressWarnings("try")
  public void currentStreamIsUsed() {
    try (PointerScope scope = new PointerScope()) {
      Tensor a = torch.randn(new long[] {4096, 4096}, Torch.options(ScalarType.Half, true));
      CUDAStream before = torch_cuda.getCurrentCUDAStream();
      for (SdpaBackend backend : List.of(SdpaBackend.SAGE, SdpaBackend.EXACT)) {
        torch_cuda.setCurrentCUDAStream(torch_cuda.getStreamFromPool());
        Tensor late = a;
        for (int i = 0; i < 20; i++) { // some milliseconds of work
          late = late.matmul(a).div(new Scalar(64.0));
        }
        Tensor q = late.narrow(0, 0, 256).reshape(1, 8, 2048, 64);
        Tensor actual = Attn4j.scaled_dot_product_attention(q, q, q, require(backend));
        torch_cuda.getCurrentCUDAStream().synchronize();
        Tensor again = Attn4j.scaled_dot_product_attention(q, q, q, require(backend));
        assertTrue(actual.equal(again), backend + " read its inputs too early");
        assertTrue(again.isfinite().all().item_bool(), backend.toString());
        torch_cuda.setCurrentCUDAStream(before);
      }
    }
  }

  @Test
  @SuppressWarnings("try")
  public void packedHeadsAndFusedProjections() {
    try (PointerScope scope = new PointerScope()) {
      Tensor fused =
          torch.randn(new long[] {2, 1000, 3 * 8 * 64}, Torch.options(ScalarType.Half, true));
      Tensor q = fused.narrow(2, 0, 512);
      Tensor k = fused.narrow(2, 512, 512);
      Tensor v = fused.narrow(2, 1024, 512);
      Tensor expected;
      try (AttentionScope pytorch = Attn4j.use(SdpaBackend.PYTORCH)) {
        expected = Attn4j.attention(q, k, v, 8);
      }
      for (SdpaBackend backend : List.of(SdpaBackend.SAGE, SdpaBackend.EXACT)) {
        try (AttentionScope choice = Attn4j.use(require(backend))) {
          Torch.Difference difference = Torch.Difference.of(Attn4j.attention(q, k, v, 8), expected);
          assertTrue(difference.relativeL1() < tolerance(backend), "" + difference);
        }
      }
    }
  }

  /** Replays read new inputs. Scratch and output come from PyTorch's cache, warmed before. */
  @Test
  @SuppressWarnings("try")
  public void capturedCallReplays() {
    CUDAStream before = torch_cuda.getCurrentCUDAStream();
    try (PointerScope scope = new PointerScope()) {
      for (SdpaBackend backend : List.of(SdpaBackend.SAGE, SdpaBackend.EXACT)) {
        AttentionOptions options = require(backend);
        Tensor q = BIG.draw(ScalarType.Half);
        Tensor fresh = BIG.draw(ScalarType.Half);
        Tensor expected = Attn4j.scaled_dot_product_attention(fresh, fresh, fresh, options);
        torch_cuda.getCurrentCUDAStream().synchronize();
        torch_cuda.setCurrentCUDAStream(torch_cuda.getStreamFromPool());
        Attn4j.scaled_dot_product_attention(q, q, q, options).close(); // warms the cache
        List<Tensor> captured = new ArrayList<>();
        try (CudaStream stream = TorchCuda.currentStream(0);
            CudaGraph graph =
                CudaGraph.capture(
                    stream,
                    () -> captured.add(Attn4j.scaled_dot_product_attention(q, q, q, options)))) {
          q.copy_(fresh);
          graph.launch(stream);
          stream.synchronize();
          Torch.Difference difference = Torch.Difference.of(captured.get(0), expected);
          assertEquals(difference.largest(), 0.0, backend + ": " + difference);
        }
        torch_cuda.setCurrentCUDAStream(before);
      }
    }
  }

  /** Our CUDA runtime is linked statically, PyTorch's is shared: one GPU memory for both. */
  @Test
  @SuppressWarnings("try")
  public void memoryOfEitherRuntimeServesTheOther() {
    try (PointerScope scope = new PointerScope();
        DeviceTensor own = DeviceTensor.allocate(0, DType.FLOAT16, 2, 8, 1024, 64)) {
      Tensor over =
          torch.from_blob(
              new Address(own.address()),
              new long[] {2, 8, 1024, 64},
              Torch.options(ScalarType.Half, true));
      over.copy_(BIG.draw(ScalarType.Half));
      Torch.Difference difference =
          Torch.Difference.of(
              Attn4j.scaled_dot_product_attention(over, over, over, require(SdpaBackend.EXACT)),
              torch.scaled_dot_product_attention(over, over, over));
      assertTrue(difference.relativeL1() < 4e-3, difference.toString());
    }
  }

  private static final class Address extends Pointer {
    Address(long value) {
      address = value;
    }
  }

  @Test
  @SuppressWarnings("try")
  public void threadsWithStreamsOfTheirOwn() throws InterruptedException {
    List<Throwable> failures = java.util.Collections.synchronizedList(new ArrayList<>());
    List<Thread> threads = new ArrayList<>();
    for (int t = 0; t < 4; t++) {
      Thread thread =
          new Thread(
              () -> {
                try (PointerScope scope = new PointerScope()) {
                  torch_cuda.setCurrentCUDAStream(torch_cuda.getStreamFromPool());
                  Tensor q = BIG.draw(ScalarType.Half);
                  Tensor first =
                      Attn4j.scaled_dot_product_attention(q, q, q, require(SdpaBackend.SAGE));
                  for (int i = 0; i < 50; i++) {
                    try (Tensor again =
                        Attn4j.scaled_dot_product_attention(q, q, q, require(SdpaBackend.SAGE))) {
                      if (!again.equal(first)) {
                        throw new AssertionError("call " + i + " differs");
                      }
                    }
                  }
                } catch (Throwable e) {
                  failures.add(e);
                }
              });
      threads.add(thread);
      thread.start();
    }
    for (Thread thread : threads) {
      thread.join();
    }
    assertEquals(failures, List.of());
  }

  @Test
  @SuppressWarnings("try")
  public void checkComparesOnTheDevice() {
    Attn4j.checkFirst(1);
    try (PointerScope scope = new PointerScope()) {
      Tensor q = BIG.draw(ScalarType.Half);
      Tensor expected = torch.scaled_dot_product_attention(q, q, q);
      for (int i = 0; i < 2; i++) {
        Tensor actual = Attn4j.scaled_dot_product_attention(q, q, q, require(SdpaBackend.SAGE));
        assertTrue(Torch.Difference.of(actual, expected).relativeL1() < 0.1);
      }
    }
  }
}
