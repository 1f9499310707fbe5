package org.attn4j.gpu;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertThrows;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.attn4j.Attention;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.BackendMode;
import org.attn4j.BackendVerdict.Outcome;
import org.attn4j.CudaDevices;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceTensor;
import org.attn4j.InvalidAttentionArgumentException;
import org.attn4j.SdpaBackend;
import org.attn4j.testing.Gaussian;
import org.testng.SkipException;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

/**
 * Two GPUs in one process. What a device computes must not depend on which device was used before:
 * kernels have settings per device, and the current device is the thread's own.
 */
@Test(groups = "gpu")
public class GpuDevicesTest extends GpuTestBase {
  private static final int HEADS = 4;
  private static final int KEYS = 700;
  private static final int HEAD_DIM = 128;

  @BeforeClass(dependsOnMethods = "requireGpu")
  public void requireTwo() {
    if (CudaDevices.count() < 2) {
      throw new SkipException("one GPU: two are needed");
    }
    if (CudaDevices.computeCapability(0) != CudaDevices.computeCapability(1)) {
      throw new SkipException("two GPUs of different kinds, which round differently");
    }
  }

  /** The same problem on a device. */
  private static final class OnDevice implements AutoCloseable {
    final DeviceTensor q;
    final DeviceTensor k;
    final DeviceTensor v;
    final DeviceTensor o;
    final CudaStream stream;

    OnDevice(int device, long seed) {
      Random random = new Random(seed);
      q = tensor(device, random);
      k = tensor(device, random);
      v = tensor(device, random);
      o = DeviceTensor.allocate(device, DType.FLOAT16, 1, HEADS, KEYS, HEAD_DIM);
      stream = CudaStream.create(device);
    }

    private static DeviceTensor tensor(int device, Random random) {
      return DeviceTensor.copyOf(
          Gaussian.tensor(random, DType.FLOAT16, 1, HEADS, KEYS, HEAD_DIM), device);
    }

    AttentionRequest request(SdpaBackend backend) {
      AttentionOptions options =
          AttentionOptions.builder().backend(backend).mode(BackendMode.REQUIRE).build();
      return AttentionRequest.builder().q(q).k(k).v(v).o(o).options(options).stream(stream).build();
    }

    float[] run(SdpaBackend backend) {
      Attention.sdpa(request(backend));
      return o.toFloatArray(stream);
    }

    @Override
    public void close() {
      q.close();
      k.close();
      v.close();
      o.close();
      stream.close();
    }
  }

  private static List<SdpaBackend> backends(OnDevice problem) {
    List<SdpaBackend> serving = new ArrayList<>();
    for (SdpaBackend backend : List.of(SdpaBackend.SPARGE, SdpaBackend.SAGE, SdpaBackend.EXACT)) {
      if (Attention.explain(problem.request(backend)).stream()
          .anyMatch(v -> v.backend() == backend && v.outcome() == Outcome.SERVES)) {
        serving.add(backend);
      }
    }
    return serving;
  }

  @Test
  public void callsInTurnOnOneThread() {
    try (OnDevice first = new OnDevice(0, SEED);
        OnDevice second = new OnDevice(1, SEED)) {
      List<SdpaBackend> backends = backends(first);
      assertEquals(backends(second), backends);
      for (SdpaBackend backend : backends) {
        float[] expected = first.run(backend);
        for (int i = 0; i < 5; i++) {
          second.o.memory().fill(0xff, second.stream);
          assertEquals(second.run(backend), expected, backend + " on device 1");
          first.o.memory().fill(0xff, first.stream);
          assertEquals(first.run(backend), expected, backend + " on device 0");
        }
      }
    }
  }

  @Test
  public void threadsOnBothDevices() throws Exception {
    ExecutorService pool = Executors.newFixedThreadPool(4);
    try {
      List<Future<Void>> futures = new ArrayList<>();
      for (int n = 0; n < 4; n++) {
        int device = n % 2;
        long seed = SEED + n / 2;
        futures.add(
            pool.submit(
                () -> {
                  try (OnDevice mine = new OnDevice(device, seed);
                      OnDevice other = new OnDevice(1 - device, seed)) {
                    for (SdpaBackend backend : backends(mine)) {
                      float[] expected = other.run(backend);
                      for (int i = 0; i < 20; i++) {
                        assertEquals(mine.run(backend), expected, backend + " on " + device);
                      }
                    }
                  }
                  return null;
                }));
      }
      for (Future<Void> future : futures) {
        future.get();
      }
    } finally {
      pool.shutdown();
    }
  }

  @Test
  public void tensorsOfTwoDevicesAreRefused() {
    try (OnDevice first = new OnDevice(0, SEED);
        OnDevice second = new OnDevice(1, SEED)) {
      assertThrows(
          InvalidAttentionArgumentException.class,
          () ->
              Attention.sdpa(
                  AttentionRequest.builder().q(first.q).k(second.k).v(first.v).o(first.o).stream(
                          first.stream)
                      .build()));
    }
  }
}
