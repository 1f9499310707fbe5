package org.attn4j.pytorch;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.attn4j.AttentionOptions;
import org.attn4j.Backend;
import org.attn4j.BackendMode;
import org.attn4j.BackendVerdict;
import org.attn4j.BackendVerdict.Outcome;
import org.attn4j.CudaGraph;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceTensor;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerScope;
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
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** The drop-in on CUDA tensors. Needs a GPU and PyTorch's CUDA build. */
public class CudaTest {
  private static final int CASES = Integer.getInteger("attn4j.test.cases", 250);
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

  private static AttentionOptions require(Backend backend) {
    return AttentionOptions.builder().backend(backend).mode(BackendMode.REQUIRE).build();
  }

  /** The largest relative L1 and the smallest cosine of each backend, and how often it served. */
  private static final class Tally {
    int calls;
    double worstL1;
    double worstCosine = 1;

    void add(Torch.Difference difference) {
      calls++;
      worstL1 = Math.max(worstL1, difference.relativeL1());
      worstCosine = Math.min(worstCosine, difference.cosine());
    }

    @Override
    public String toString() {
      return calls + " calls, worst L1 " + worstL1 + ", worst cosine " + worstCosine;
    }
  }

  @DataProvider
  public Object[][] types() {
    return new Object[][] {{ScalarType.Half}, {ScalarType.BFloat16}};
  }

  @Test(dataProvider = "types")
  @SuppressWarnings("try")
  public void randomCasesAgainstPyTorch(ScalarType type) {
    TorchCase.Limits limits =
        new TorchCase.Limits(
            new ScalarType[] {type}, 300, new long[] {64, 128, 40, 80, 96, 160, 256}, true);
    Map<Backend, Tally> tallies = new EnumMap<>(Backend.class);
    List<String> failures = new ArrayList<>();
    Attn4j.inspectDeviceMasks(true);
    for (int seed = 0; seed < CASES; seed++) {
      try (PointerScope scope = new PointerScope()) {
        TorchCase c = TorchCase.random(new Random(seed), limits);
        Backend by = whoServes(c);
        Torch.Difference difference = Torch.Difference.of(c.actual(), c.expected());
        tallies.computeIfAbsent(by, key -> new Tally()).add(difference);
        boolean close = difference.relativeL1() <= tolerance(by, type);
        if (!difference.sameSizes() || !close) {
          failures.add("case " + seed + " by " + by + ": " + c + ": " + difference);
        }
      } catch (RuntimeException e) {
        failures.add("case " + seed + ": " + e);
      }
    }
    System.out.println("random cases in " + type + ": " + tallies);
    assertEquals(failures, List.of());
    assertTrue(tallies.get(Backend.SAGE).calls > CASES / 4, tallies.toString());
  }

  // INT8 Q and K give about 0.012 on N(0,1) and FP8 values 0.039 over thousands of keys (spec 5);
  // over few keys less averages out, and a scale of 0.5 on 128 channels makes scores of 20. The
  // exact kernel differs from PyTorch by roundings of P and O to the type: 2^-11 and 2^-8 each.
  private static double tolerance(Backend by, ScalarType type) {
    return switch (by) {
      case SAGE, SPARGE -> 0.15;
      case EXACT -> type == ScalarType.Half ? 4e-3 : 2e-2;
      default -> 0;
    };
  }

  private static Backend whoServes(TorchCase c) {
    List<BackendVerdict> verdicts =
        Attn4j.explain(
            c.query, c.key, c.value, c.maskOptional(), 0, c.causal, c.scaleOptional(), c.grouped);
    return verdicts.stream()
        .filter(verdict -> verdict.outcome() == Outcome.SERVES)
        .findFirst()
        .orElseThrow()
        .backend();
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

  /** The inputs are still being made on a stream of their own when attention is called. */
  @Test
  @SuppressWarnings("try")
  public void currentStreamIsUsed() {
    try (PointerScope scope = new PointerScope()) {
      Tensor a = torch.randn(new long[] {4096, 4096}, Torch.options(ScalarType.Half, true));
      CUDAStream before = torch_cuda.getCurrentCUDAStream();
      for (Backend backend : List.of(Backend.SAGE, Backend.EXACT)) {
        torch_cuda.setCurrentCUDAStream(torch_cuda.getStreamFromPool());
        Tensor late = a;
        for (int i = 0; i < 20; i++) { // some milliseconds of work
          late = late.matmul(a).div(new Scalar(64.0));
        }
        Tensor q = late.narrow(0, 0, 256).reshape(1, 8, 2048, 64);
        Tensor actual = Attn4j.scaled_dot_product_attention(q, q, q, require(backend));
        torch_cuda.getCurrentCUDAStream().synchronize();
        Tensor expected = torch.scaled_dot_product_attention(q, q, q);
        Torch.Difference difference = Torch.Difference.of(actual, expected);
        assertTrue(difference.relativeL1() < 0.1, backend + ": " + difference);
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
      try (AttentionScope pytorch = Attn4j.use(Backend.PYTORCH)) {
        expected = Attn4j.attention(q, k, v, 8);
      }
      for (Backend backend : List.of(Backend.SAGE, Backend.EXACT)) {
        try (AttentionScope choice = Attn4j.use(require(backend))) {
          Torch.Difference difference = Torch.Difference.of(Attn4j.attention(q, k, v, 8), expected);
          assertTrue(
              difference.relativeL1() < tolerance(backend, ScalarType.Half), "" + difference);
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
      for (Backend backend : List.of(Backend.SAGE, Backend.EXACT)) {
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
              Attn4j.scaled_dot_product_attention(over, over, over, require(Backend.EXACT)),
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
                      Attn4j.scaled_dot_product_attention(q, q, q, require(Backend.SAGE));
                  for (int i = 0; i < 50; i++) {
                    try (Tensor again =
                        Attn4j.scaled_dot_product_attention(q, q, q, require(Backend.SAGE))) {
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
        Tensor actual = Attn4j.scaled_dot_product_attention(q, q, q, require(Backend.SAGE));
        assertTrue(Torch.Difference.of(actual, expected).relativeL1() < 0.1);
      }
    }
  }
}
