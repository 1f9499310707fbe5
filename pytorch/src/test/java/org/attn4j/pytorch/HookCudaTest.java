package org.attn4j.pytorch;

import static org.attn4j.pytorch.HookedCuda.byPyTorch;
import static org.attn4j.pytorch.HookedCuda.counting;
import static org.attn4j.pytorch.HookedCuda.same;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.function.Supplier;
import org.attn4j.CudaGraph;
import org.attn4j.CudaStream;
import org.attn4j.SdpaBackend;
import org.attn4j.torch.HookCounts;
import org.attn4j.torch.HookOutcome;
import org.attn4j.torch.TorchHook;
import org.bytedeco.javacpp.LongPointer;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.IValue;
import org.bytedeco.pytorch.IValueVector;
import org.bytedeco.pytorch.JitModule;
import org.bytedeco.pytorch.QualifiedName;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.cuda.CUDAStream;
import org.bytedeco.pytorch.cuda.DeviceAssertionsDataVectorCUDAKernelLaunchInfoVectorPair;
import org.bytedeco.pytorch.cuda.StreamFilter;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.DeviceType;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.bytedeco.pytorch.global.torch_cuda;
import org.testng.ITestResult;
import org.testng.annotations.AfterClass;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** The hook on CUDA tensors. Needs a GPU and PyTorch's CUDA build. */
public class HookCudaTest {
  private static final long[] BIG = {2, 8, 1024, 64};
  private static final int CASES = 50;
  private static final int BATCHES = 10;

  private final Map<HookOutcome, Long> outcomes = new EnumMap<>(HookOutcome.class);

  @BeforeClass
  public void needsCuda() {
    HookedCuda.install();
  }

  @AfterClass(alwaysRun = true)
  public void switchOff() {
    HookedCuda.switchOff();
  }

  @AfterMethod
  public void report(ITestResult result) {
    HookedCuda.report(result);
  }

  private static Tensor draw() {
    return HookedCuda.draw(0, BIG);
  }

  // ------------------------------------------------------------------------------------ 500 cases

  @DataProvider
  public Object[][] batches() {
    Object[][] rows = new Object[BATCHES][];
    for (int i = 0; i < BATCHES; i++) {
      rows[i] = new Object[] {i % 2 == 0 ? ScalarType.Half : ScalarType.BFloat16, i};
    }
    return rows;
  }

  /** Bit for bit what the drop-in gives, and near what PyTorch gives; views, ranks, masks, all. */
  @Test(dataProvider = "batches")
  public void randomCases(ScalarType type, int batch) {
    TorchCase.Limits limits =
        new TorchCase.Limits(
            new ScalarType[] {type}, 300, new long[] {64, 128, 40, 80, 96, 160, 256}, true);
    torch.manual_seed(batch);
    List<String> failures = new ArrayList<>();
    for (int seed = 20_000 + batch * CASES; seed < 20_000 + (batch + 1) * CASES; seed++) {
      String failure = run(seed, limits);
      if (failure != null) {
        failures.add("case " + seed + " " + failure);
      }
    }
    assertTrue(failures.isEmpty(), String.join(System.lineSeparator(), failures));
  }

  @SuppressWarnings("try") // the scopes are there to be closed
  private String run(int seed, TorchCase.Limits limits) {
    try (PointerScope scope = new PointerScope();
        AttentionScope choice = seed % 3 == 0 ? null : Attn4j.use(CudaRandomTest.kernel(seed))) {
      TorchCase c = TorchCase.random(new Random(seed), limits);
      CudaRandomTest.Server server = CudaRandomTest.server(c);
      Tensor expected = byPyTorch(c::expected);
      Tensor[] hooked = new Tensor[1];
      HookCounts counts = counting(() -> hooked[0] = c.expected());
      counts.byOutcome().forEach((outcome, n) -> outcomes.merge(outcome, n, Long::sum));
      String what = c + " by " + server + ", " + TorchHook.explainLast();
      boolean byUs = server != CudaRandomTest.Server.PYTORCH;
      if (counts.served() != (byUs ? 1 : 0)) {
        return what + ": drop-in and hook disagree on who serves";
      }
      if (!same(hooked[0], c.actual())) {
        return what + ": differs from the drop-in";
      }
      if (!byUs) {
        return same(hooked[0], expected) ? null : what + ": differs from PyTorch";
      }
      Torch.Difference difference = Torch.Difference.of(hooked[0], expected);
      boolean near = difference.relativeL1() <= CudaRandomTest.tolerance(server, c);
      return difference.sameSizes() && near ? null : what + ": " + difference;
    } catch (RuntimeException e) {
      return e.toString();
    }
  }

  @Test(dependsOnMethods = "randomCases", alwaysRun = true)
  public void manyWereServedAndManyDeclined() {
    System.out.println("hook, random cases: " + outcomes);
    for (HookOutcome outcome : List.of(HookOutcome.SAGE, HookOutcome.EXACT, HookOutcome.MASK)) {
      assertTrue(outcomes.getOrDefault(outcome, 0L) >= 30, outcome + ": " + outcomes);
    }
  }

  // -------------------------------------------------------------------------- streams and threads

  /** The inputs are still being made on a stream of their own when attention is called. */
  @Test
  @SuppressWarnings("try")
  public void currentStreamIsUsed() {
    CUDAStream before = torch_cuda.getCurrentCUDAStream();
    try (PointerScope scope = new PointerScope()) {
      Tensor a = torch.randn(new long[] {4096, 4096}, Torch.options(ScalarType.Half, true));
      torch_cuda.setCurrentCUDAStream(torch_cuda.getStreamFromPool());
      Tensor late = a;
      for (int i = 0; i < 20; i++) { // some milliseconds of work
        late = late.matmul(a).div(new Scalar(64.0));
      }
      Tensor q = late.narrow(0, 0, 256).reshape(1, 8, 2048, 64);
      Tensor actual = torch.scaled_dot_product_attention(q, q, q);
      torch_cuda.getCurrentCUDAStream().synchronize();
      Tensor again = torch.scaled_dot_product_attention(q, q, q);
      assertTrue(TorchHook.explainLast().contains("served"), TorchHook.explainLast());
      assertTrue(actual.equal(again), "inputs were read too early");
      assertTrue(again.isfinite().all().item_bool());
    } finally {
      torch_cuda.setCurrentCUDAStream(before);
    }
  }

  @Test
  @SuppressWarnings("try")
  public void threadsWithStreamsOfTheirOwn() throws InterruptedException {
    List<Throwable> failures = java.util.Collections.synchronizedList(new ArrayList<>());
    List<Thread> threads = new ArrayList<>();
    HookCounts before = TorchHook.counts();
    for (int t = 0; t < 4; t++) {
      Thread thread = new Thread(() -> repeat(failures, 50));
      threads.add(thread);
      thread.start();
    }
    for (Thread thread : threads) {
      thread.join();
    }
    assertEquals(failures, List.of());
    assertEquals(TorchHook.counts().since(before).served(), 4 * 51);
  }

  @SuppressWarnings("try")
  private static void repeat(List<Throwable> failures, int times) {
    try (PointerScope scope = new PointerScope()) {
      torch_cuda.setCurrentCUDAStream(torch_cuda.getStreamFromPool());
      Tensor q = draw();
      Tensor first = torch.scaled_dot_product_attention(q, q, q);
      for (int i = 0; i < times; i++) {
        try (Tensor again = torch.scaled_dot_product_attention(q, q, q)) {
          if (!again.equal(first)) {
            throw new AssertionError("call " + i + " differs");
          }
        }
      }
    } catch (Throwable e) {
      failures.add(e);
    }
  }

  /** Deterministic mode asks for this, and the hook doesn't look at it. */
  @Test
  @SuppressWarnings("try")
  public void twoHundredRepeatsAreTheSameBits() {
    List<Throwable> failures = new ArrayList<>();
    for (SdpaBackend backend : List.of(SdpaBackend.SPARGE, SdpaBackend.SAGE, SdpaBackend.EXACT)) {
      try (AttentionScope scope = Attn4j.use(backend)) {
        CUDAStream before = torch_cuda.getCurrentCUDAStream();
        repeat(failures, 200);
        torch_cuda.setCurrentCUDAStream(before);
      }
    }
    assertEquals(failures, List.of());
  }

  // ------------------------------------------------------------------------------------- graphs

  /** As PyTorch captures its own operations, with a memory pool of the graph's own. */
  @Test
  @SuppressWarnings("try")
  public void replaysFromAPoolOfPyTorchs() {
    CUDAStream before = torch_cuda.getCurrentCUDAStream();
    try (PointerScope scope = new PointerScope();
        AttentionScope choice = Attn4j.use(CudaRandomTest.kernel(1)); // has scratch memory
        LongPointer numbers = new LongPointer(0, 1_000_018L)) {
      torch_cuda.setCurrentCUDAStream(torch_cuda.getStreamFromPool());
      Tensor q = draw();
      Tensor fresh = draw();
      Tensor expected = torch.scaled_dot_product_attention(fresh, fresh, fresh);
      var pool = new DeviceAssertionsDataVectorCUDAKernelLaunchInfoVectorPair(numbers);
      AnyStream anyStream = new AnyStream();
      List<Tensor> captured = new ArrayList<>();
      CudaStream stream = TorchCuda.currentStream(0);
      torch_cuda.beginAllocateToPool((byte) 0, pool, anyStream);
      CudaGraph graph;
      try {
        graph =
            CudaGraph.capture(
                stream, () -> captured.add(torch.scaled_dot_product_attention(q, q, q)));
      } finally {
        torch_cuda.endAllocateToPool((byte) 0, pool);
      }
      assertTrue(TorchHook.explainLast().contains("SageAttention"), TorchHook.explainLast());
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

  private static final class AnyStream extends StreamFilter {
    @Override
    public boolean call(Pointer stream) {
      return true;
    }
  }

  // -------------------------------------------------------------------- autocast and TorchScript

  @Test
  @SuppressWarnings("try")
  public void autocastHasCastBefore() {
    try (PointerScope scope = new PointerScope()) {
      Tensor q = draw();
      Tensor wide = q.to(ScalarType.Float);
      Tensor expected = torch.scaled_dot_product_attention(q, q, q);
      torch.set_autocast_enabled(DeviceType.CUDA, true);
      torch.set_autocast_dtype(DeviceType.CUDA, ScalarType.Half);
      try {
        Tensor actual = torch.scaled_dot_product_attention(wide, wide, wide);
        assertTrue(TorchHook.explainLast().contains("served"), TorchHook.explainLast());
        assertTrue(actual.equal(expected));
      } finally {
        torch.set_autocast_enabled(DeviceType.CUDA, false);
        torch.clear_cache();
      }
    }
  }

  /**
   * The fused paths of nn.MultiheadAttention and nn.TransformerEncoderLayer, as models save them.
   */
  @Test
  @SuppressWarnings("try")
  public void fusedModulesReachTheOperator() {
    try (PointerScope scope = new PointerScope()) {
      JitModule module = new JitModule(new QualifiedName("__torch__.Fused"));
      module.define(
          "def attention(self, x, w, b, pw, pb):\n"
              + "    return torch._native_multi_head_attention(x, x, x, 512, 8, w, b, pw, pb, None,"
              + " False)[0]\n"
              + "def layer(self, x, w, b, pw, pb, n, m, u, c, d):\n"
              + "    return torch._transformer_encoder_layer_fwd(x, 512, 8, w, b, pw, pb, True,"
              + " True, 1e-5, n, m, n, m, u, c, d, m)\n");
      Tensor[] arguments = {
        half(2, 256, 512), half(1536, 512), half(1536), half(512, 512), half(512)
      };
      Tensor[] more = {half(512), half(512), half(2048, 512), half(2048), half(512, 2048)};
      for (String name : List.of("attention", "layer")) {
        IValueVector values = new IValueVector();
        for (Tensor tensor : arguments) {
          values.push_back(new IValue(tensor));
        }
        for (int i = 0; name.equals("layer") && i < more.length; i++) {
          values.push_back(new IValue(more[i]));
        }
        Supplier<Tensor> call = () -> module.get_method(name).apply(values).toTensor();
        Tensor expected = byPyTorch(call);
        Tensor[] actual = new Tensor[1];
        HookCounts counts = counting(() -> actual[0] = call.get());
        System.out.println("hook, fused " + name + ": " + counts);
        assertTrue(Torch.Difference.of(actual[0], expected).relativeL1() < 0.05);
        assertEquals(counts.served(), 1, name);
      }
    }
  }

  private static Tensor half(long... sizes) {
    Tensor x = torch.randn(sizes, Torch.options(ScalarType.Half, true));
    return sizes.length == 2 ? x.div(new Scalar(Math.sqrt(sizes[1]))) : x;
  }
}
