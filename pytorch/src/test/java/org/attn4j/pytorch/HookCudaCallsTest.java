package org.attn4j.pytorch;

import static org.attn4j.pytorch.HookedCuda.byPyTorch;
import static org.attn4j.pytorch.HookedCuda.counting;
import static org.attn4j.pytorch.HookedCuda.draw;
import static org.attn4j.pytorch.HookedCuda.same;
import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.function.Supplier;
import org.attn4j.torch.HookCounts;
import org.attn4j.torch.HookOutcome;
import org.attn4j.torch.TorchHook;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.AutoGradMode;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.InferenceMode;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.cuda.CUDAStream;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.MemoryFormat;
import org.bytedeco.pytorch.global.torch_cuda;
import org.testng.ITestResult;
import org.testng.SkipException;
import org.testng.annotations.AfterClass;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

/**
 * The hook on CUDA tensors: each way in which a model lays its tensors out, each mode it runs in,
 * and several devices. Needs a GPU and PyTorch's CUDA build; the devices' tests need two.
 */
public class HookCudaCallsTest {
  // INT8 and FP8 on N(0, 1) inputs, and PyTorch's own rounding: CudaRandomTest.tolerance.
  private static final double NEAR = 0.06;

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

  /** Served once, with the drop-in's bits, and near what PyTorch gives. */
  private static Tensor assertServed(Supplier<Tensor> hooked, Supplier<Tensor> dropIn) {
    Tensor expected = byPyTorch(hooked);
    Tensor[] actual = new Tensor[1];
    HookCounts counts = counting(() -> actual[0] = hooked.get());
    assertEquals(counts.served(), 1, TorchHook.explainLast());
    assertTrue(same(actual[0], dropIn.get()), "differs from the drop-in");
    Torch.Difference difference = Torch.Difference.of(actual[0], expected);
    assertTrue(difference.sameSizes() && difference.relativeL1() < NEAR, difference.toString());
    return actual[0];
  }

  private static Tensor assertServed(Tensor q, Tensor k, Tensor v) {
    return assertServed(
        () -> torch.scaled_dot_product_attention(q, k, v),
        () -> Attn4j.scaled_dot_product_attention(q, k, v));
  }

  /** Left to PyTorch for one reason, with PyTorch's bits. */
  private static void assertLeft(HookOutcome why, Tensor q, Tensor k, Tensor v) {
    Supplier<Tensor> call = () -> torch.scaled_dot_product_attention(q, k, v);
    Tensor expected = byPyTorch(call);
    Tensor[] actual = new Tensor[1];
    HookCounts counts = counting(() -> actual[0] = call.get());
    assertEquals(counts.byOutcome(), Map.of(why, 1L));
    assertTrue(same(actual[0], expected), "differs from PyTorch");
  }

  // ---------------------------------------------------------------------------------------- views

  private static Map<String, Tensor[]> views() {
    Tensor plain = draw(0, 2, 8, 256, 64);
    Tensor fused = draw(0, 2, 256, 3, 8, 64).permute(2, 0, 3, 1, 4);
    Tensor repeatedHead = draw(0, 2, 1, 256, 64).expand(2, 8, 256, 64);
    Tensor repeatedBatch = draw(0, 1, 8, 256, 64).expand(2, 8, 256, 64);
    Tensor cache = draw(0, 2, 8, 300, 64).narrow(2, 17, 256);
    Tensor transposed = draw(0, 2, 256, 8, 64).transpose(1, 2);
    Tensor pixels =
        draw(0, 2, 512, 16, 16)
            .contiguous(MemoryFormat.ChannelsLast)
            .flatten(2, 3)
            .transpose(1, 2)
            .view(2, 256, 8, 64)
            .transpose(1, 2);
    return Map.of(
        "transposed", new Tensor[] {transposed, transposed, transposed},
        "fused projection",
            new Tensor[] {fused.select(0, 0), fused.select(0, 1), fused.select(0, 2)},
        "one head for all", new Tensor[] {plain, repeatedHead, repeatedHead},
        "one batch entry for all", new Tensor[] {plain, repeatedBatch, repeatedBatch},
        "a repeated query", new Tensor[] {repeatedBatch, plain, plain},
        "rows of a cache", new Tensor[] {plain, cache, cache},
        "pixels of a channels-last picture", new Tensor[] {pixels, pixels, pixels});
  }

  @Test
  public void viewsAreServed() {
    List<String> failures = new ArrayList<>();
    views()
        .forEach(
            (name, x) -> {
              try {
                assertServed(x[0], x[1], x[2]);
              } catch (AssertionError | RuntimeException e) {
                failures.add(name + ": " + e.getMessage());
              }
            });
    assertEquals(failures, List.of());
  }

  /** PyTorch's memory format, which puts dimension 1, here the heads, innermost. */
  @Test
  public void channelsApartAreLeft() {
    Tensor x = draw(0, 2, 8, 256, 64).contiguous(MemoryFormat.ChannelsLast);
    assertLeft(HookOutcome.STRIDES, x, x, x);
  }

  @Test
  public void groupedHeadsScaleAndCausalMaskAreServed() {
    Tensor q = draw(0, 2, 8, 200, 64);
    Tensor k = draw(0, 2, 2, 256, 64);
    for (boolean causal : new boolean[] {false, true}) {
      TensorOptional mask = new TensorOptional();
      DoubleOptional scale = new DoubleOptional(0.2);
      assertServed(
          () -> torch.scaled_dot_product_attention(q, k, k, mask, 0, causal, scale, true),
          () -> Attn4j.scaled_dot_product_attention(q, k, k, mask, 0, causal, scale, true));
    }
  }

  // ---------------------------------------------------------------------------------------- modes

  @Test
  @SuppressWarnings("try") // the guard is there to be closed
  public void inferenceModeIsServed() {
    Tensor outside = draw(0, 2, 8, 256, 64);
    try (InferenceMode guard = new InferenceMode(true)) {
      Tensor inside = draw(0, 2, 8, 256, 64);
      assertTrue(assertServed(inside, outside, outside).is_inference());
    }
  }

  @Test
  @SuppressWarnings("try") // the guard is there to be closed
  public void noGradIsServedAndGradientsArePyTorchs() {
    Tensor k = draw(0, 2, 8, 256, 64);
    Tensor q = draw(0, 2, 8, 256, 64).requires_grad_(true);
    Tensor expected = byPyTorch(() -> gradient(q, k));
    Tensor[] actual = new Tensor[1];
    HookCounts counts = counting(() -> actual[0] = gradient(q, k));
    assertEquals(counts.byOutcome(), Map.of(HookOutcome.GRADIENT, 1L));
    // PyTorch's backward pass adds in any order.
    assertTrue(Torch.Difference.of(actual[0], expected).relativeL1() < 0.01);
    try (AutoGradMode guard = new AutoGradMode(false)) {
      assertServed(q, k, k);
    }
  }

  private static Tensor gradient(Tensor q, Tensor k) {
    if (q.grad().defined()) {
      q.mutable_grad().zero_();
    }
    torch.scaled_dot_product_attention(q, k, k).square().sum().backward();
    return q.grad().clone();
  }

  /** Deterministic algorithms are what the hook has; PyTorch's kernels by name are not. */
  @Test
  public void whatTheContextAsksFor() {
    Tensor x = draw(0, 2, 8, 1024, 64);
    var context = torch.globalContext();
    context.setDeterministicAlgorithms(true, false);
    try {
      Tensor first = assertServed(x, x, x);
      for (int i = 0; i < 20; i++) {
        assertTrue(same(assertServed(x, x, x), first), "other bits at repetition " + i);
      }
    } finally {
      context.setDeterministicAlgorithms(false, false);
    }
    context.setSDPUseMemEfficient(false);
    context.setSDPUseCuDNN(false);
    context.setSDPUseMath(false);
    try {
      assertLeft(HookOutcome.SDPA_BACKENDS, x, x, x);
    } finally {
      context.setSDPUseMemEfficient(true);
      context.setSDPUseCuDNN(true);
      context.setSDPUseMath(true);
    }
  }

  // -------------------------------------------------------------------------------------- devices

  private static void needTwoDevices() {
    if (torch_cuda.device_count() < 2) {
      throw new SkipException("one GPU alone");
    }
  }

  /** The thread's current device is another than the tensors', and stays so. */
  @Test
  public void tensorsOfAnotherDevice() {
    needTwoDevices();
    torch_cuda.set_device((byte) 0);
    Tensor x = draw(1, 2, 8, 1024, 64);
    Tensor result = assertServed(x, x, x);
    assertEquals(result.device().index(), 1);
    assertEquals(torch_cuda.current_device(), 0);
    Tensor there = draw(0, 2, 8, 1024, 64);
    there.copy_(x);
    Tensor moved = draw(1, 2, 8, 1024, 64);
    moved.copy_(assertServed(there, there, there));
    assertTrue(same(moved, result), "the two devices differ");
  }

  /** Work of device 1 goes to its own current stream, behind what makes its inputs. */
  @Test
  @SuppressWarnings("try") // the scope is there to be closed
  public void theOtherDevicesStreamIsUsed() {
    needTwoDevices();
    torch_cuda.set_device((byte) 0);
    CUDAStream before = torch_cuda.getCurrentCUDAStream((byte) 1);
    try (PointerScope scope = new PointerScope()) {
      Tensor a = draw(1, 4096, 4096);
      torch_cuda.getCurrentCUDAStream((byte) 1).synchronize();
      CUDAStream own = torch_cuda.getStreamFromPool(false, (byte) 1);
      torch_cuda.setCurrentCUDAStream(own);
      Tensor late = a;
      for (int i = 0; i < 20; i++) { // some milliseconds of work
        late = late.matmul(a).div(new Scalar(64.0));
      }
      Tensor q = late.narrow(0, 0, 256).reshape(1, 8, 2048, 64);
      Tensor actual = torch.scaled_dot_product_attention(q, q, q);
      own.synchronize();
      Tensor again = torch.scaled_dot_product_attention(q, q, q);
      assertTrue(TorchHook.explainLast().contains("served"), TorchHook.explainLast());
      assertTrue(same(actual, again), "inputs were read too early");
    } finally {
      torch_cuda.setCurrentCUDAStream(before);
      torch_cuda.set_device((byte) 0);
    }
  }

  @Test
  public void aThreadForEachDevice() throws InterruptedException {
    needTwoDevices();
    List<Throwable> failures = Collections.synchronizedList(new ArrayList<>());
    List<Thread> threads = new ArrayList<>();
    for (int t = 0; t < 4; t++) {
      int device = t % 2;
      threads.add(new Thread(() -> repeat(device, failures)));
    }
    threads.forEach(Thread::start);
    for (Thread thread : threads) {
      thread.join();
    }
    assertEquals(failures, List.of());
  }

  @SuppressWarnings("try") // the scope is there to be closed
  private static void repeat(int device, List<Throwable> failures) {
    try (PointerScope scope = new PointerScope()) {
      Tensor q = draw(device, 2, 8, 1024, 64);
      Tensor first = torch.scaled_dot_product_attention(q, q, q);
      for (int i = 0; i < 50; i++) {
        try (Tensor again = torch.scaled_dot_product_attention(q, q, q)) {
          if (!again.equal(first)) {
            throw new AssertionError("device " + device + ": call " + i + " differs");
          }
        }
      }
    } catch (Throwable e) {
      failures.add(e);
    }
  }

  /** Tensors of two devices: PyTorch's exception. */
  @Test
  public void devicesDontMix() {
    needTwoDevices();
    Tensor here = draw(0, 1, 2, 64, 64);
    Tensor there = draw(1, 1, 2, 64, 64);
    HookCounts counts =
        counting(
            () -> {
              try {
                torch.scaled_dot_product_attention(here, there, there);
                throw new AssertionError("nothing was thrown");
              } catch (RuntimeException e) {
                assertTrue(e.getMessage().contains("device"), e.getMessage());
              }
            });
    assertEquals(counts.byOutcome(), Map.of(HookOutcome.DEVICE, 1L));
  }
}
