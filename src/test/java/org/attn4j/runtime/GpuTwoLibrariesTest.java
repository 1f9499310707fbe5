package org.attn4j.runtime;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.stream.Collectors;
import org.attn4j.Attention;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.BackendMode;
import org.attn4j.BackendVerdict;
import org.attn4j.CudaGraph;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceTensor;
import org.attn4j.SdpaBackend;
import org.attn4j.testing.Gaussian;
import org.testng.SkipException;
import org.testng.annotations.AfterClass;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

/**
 * Two libraries in one process, as on a machine with two kinds of GPUs. One GPU is enough: it is
 * served by one and the other in turn.
 */
@Test(groups = "gpu")
public class GpuTwoLibrariesTest {
  private static final int DEVICE = 0;
  private static final long[] SIZES = {1, 4, 1500, 128};

  private List<String> libraries; // the device's own first

  @BeforeClass
  public void requireTwoThatRun() {
    Selection selection = NativeLibrary.selection();
    if (NativeLibrary.gpuObstacle(DEVICE).isPresent()) {
      throw new SkipException("no GPU: " + NativeLibrary.gpuObstacle(DEVICE).get());
    }
    DeviceChoice own = selection.choice(DEVICE).orElseThrow();
    String name = own.arch().orElseThrow().name();
    libraries =
        selection.installed().stream()
            .filter(arch -> arch.fit(own.device().computeCapability()) != Arch.Fit.NONE)
            .map(Arch::name)
            .sorted((a, b) -> Boolean.compare(b.equals(name), a.equals(name)))
            .limit(2)
            .collect(Collectors.toList());
    if (libraries.size() < 2) {
      throw new SkipException("one library runs on this GPU: two are needed");
    }
  }

  @AfterClass(alwaysRun = true)
  public void giveTheDeviceItsOwnBack() {
    if (libraries != null && libraries.size() == 2) {
      NativeLibrary.serveWith(DEVICE, libraries.get(0));
    }
  }

  /** What a library answers is the same whoever answered before, on its device and thread. */
  public void eachKeepsItsBitsInTurn() {
    Map<String, float[]> first = new HashMap<>();
    for (int round = 0; round < 6; round++) {
      String library = libraries.get(round % 2);
      serve(library);
      for (SdpaBackend backend : List.of(SdpaBackend.EXACT, SdpaBackend.SAGE)) {
        float[] output = run(backend, round % 4 > 1);
        float[] known = first.putIfAbsent(library + backend, output);
        if (known != null) {
          assertEquals(output, known, library + " " + backend);
        }
      }
    }
    // fp16 outputs of exact kernels: each rounds at 2^-11, and adds up in another order.
    double difference = 0;
    double sum = 0;
    float[] a = first.get(libraries.get(0) + SdpaBackend.EXACT);
    float[] b = first.get(libraries.get(1) + SdpaBackend.EXACT);
    for (int i = 0; i < a.length; i++) {
      difference += Math.abs(a[i] - b[i]);
      sum += Math.abs(a[i]);
    }
    assertTrue(difference / sum < 0x1p-9, "relative L1 " + difference / sum);
  }

  /** A thread that has used one library is sent to the other. */
  public void threadsFollow() throws Exception {
    ExecutorService threads = Executors.newFixedThreadPool(3);
    try {
      for (int round = 0; round < 4; round++) {
        serve(libraries.get(round % 2));
        float[] expected = run(SdpaBackend.EXACT, false);
        Callable<float[]> call = () -> run(SdpaBackend.EXACT, false);
        for (var output : threads.invokeAll(List.of(call, call, call))) {
          assertEquals(output.get(), expected);
        }
      }
    } finally {
      threads.shutdown();
    }
  }

  private void serve(String library) {
    NativeLibrary.serveWith(DEVICE, library)
        .ifPresent(
            reason -> {
              throw new AssertionError(reason);
            });
  }

  /** The same problem in tensors of its own: a request belongs to the library that planned it. */
  private static float[] run(SdpaBackend backend, boolean inGraph) {
    Random random = new Random(20261130);
    try (DeviceTensor q = tensor(random);
        DeviceTensor k = tensor(random);
        DeviceTensor v = tensor(random);
        DeviceTensor o = DeviceTensor.allocate(DEVICE, DType.FLOAT16, SIZES);
        CudaStream stream = CudaStream.create(DEVICE)) {
      AttentionOptions options =
          AttentionOptions.builder().backend(backend).mode(BackendMode.REQUIRE).build();
      AttentionRequest request =
          AttentionRequest.builder().q(q).k(k).v(v).o(o).options(options).stream(stream).build();
      assertTrue(
          Attention.explain(request).stream()
              .anyMatch(verdict -> verdict.outcome() == BackendVerdict.Outcome.SERVES));
      Attention.sdpa(request);
      if (inGraph) {
        try (CudaGraph graph = CudaGraph.capture(stream, () -> Attention.sdpa(request))) {
          o.memory().fill(0xff, stream);
          graph.launch(stream);
          return o.toFloatArray(stream);
        }
      }
      return o.toFloatArray(stream);
    }
  }

  private static DeviceTensor tensor(Random random) {
    return DeviceTensor.copyOf(Gaussian.tensor(random, DType.FLOAT16, SIZES), DEVICE);
  }
}
