package org.attn4j.gpu;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.Arrays;
import java.util.Random;
import org.attn4j.Attention;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.BackendMode;
import org.attn4j.CudaGraph;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceTensor;
import org.attn4j.HostTensor;
import org.attn4j.PackedSequences;
import org.attn4j.SdpaBackend;
import org.attn4j.testing.PackedCase;
import org.testng.annotations.Test;

/** Packed sequences on the GPU against the formula, in graphs too. */
@Test(groups = "gpu")
public class GpuPackedTest extends GpuTestBase {
  private static final int CASES = 60;
  private static final AttentionOptions EXACT =
      AttentionOptions.builder().backend(SdpaBackend.EXACT).mode(BackendMode.REQUIRE).build();

  @Test
  public void sequencesMeetTheFormula() {
    Random random = new Random(SEED);
    try (CudaStream stream = CudaStream.create(DEVICE)) {
      for (int n = 0; n < CASES; n++) {
        DType dtype = n % 2 == 0 ? DType.FLOAT16 : DType.BFLOAT16;
        boolean many = n % 5 == 0;
        check(new PackedCase(random, EXACT, dtype, many ? 90 : 5, many ? 12 : 300), stream);
      }
    }
  }

  private static void check(PackedCase test, CudaStream stream) {
    long rows = Arrays.stream(test.queries).sum();
    PackedSequences packed = test.packed.onDevice(DEVICE);
    try (DeviceTensor q = DeviceTensor.copyOf(test.q, DEVICE);
        DeviceTensor k = DeviceTensor.copyOf(test.k, DEVICE);
        DeviceTensor v = DeviceTensor.copyOf(test.v, DEVICE);
        DeviceTensor o = DeviceTensor.allocate(DEVICE, test.q.dtype(), test.q.shape().sizes());
        DeviceTensor lse = DeviceTensor.allocate(DEVICE, DType.FLOAT32, 1, test.headsQ, rows)) {
      Attention.sdpa(
          AttentionRequest.builder()
              .q(q)
              .k(k)
              .v(v)
              .o(o)
              .lse(lse)
              .packed(packed)
              .options(test.options)
              .stream(stream)
              .build());
      HostTensor found = HostTensor.allocate(DType.FLOAT32, test.q.shape().sizes());
      found.copyFrom(o.toFloatArray(stream));
      float[] sums = lse.toFloatArray(stream);
      // Probabilities and outputs are rounded to the type; values stay below 6.
      double unit = test.q.dtype() == DType.FLOAT16 ? 0x1p-11 : 0x1p-8;
      test.forEachRow(
          (head, row, expected) -> {
            float[] values = test.row(found, head, row);
            for (int c = 0; c < values.length; c++) {
              assertEquals(values[c], expected.output()[c], 6 * unit, "o of " + test);
            }
            float sum = sums[(int) (head * rows + row)];
            boolean same = sum == (float) expected.lse();
            assertTrue(same || Math.abs(sum - expected.lse()) < 2e-4, "lse of " + test);
          });
    } finally {
      packed.cuSeqlensQ().memory().close();
      packed.cuSeqlensK().memory().close();
    }
  }

  /** A graph takes new offsets: nothing of the old ones is in it. */
  @Test
  public void graphsTakeNewOffsets() {
    Random random = new Random(SEED);
    int rows = 700;
    HostTensor host = org.attn4j.testing.Gaussian.tensor(random, DType.FLOAT16, 1, 2, rows, 64);
    int[][] offsets = {{0, 300, 300, 700}, {0, 1, 650, 700}};
    try (CudaStream stream = CudaStream.create(DEVICE);
        DeviceTensor x = DeviceTensor.copyOf(host, DEVICE);
        DeviceTensor o = DeviceTensor.allocate(DEVICE, DType.FLOAT16, 1, 2, rows, 64);
        DeviceTensor at = DeviceTensor.copyOf(HostTensor.ofInts(offsets[0]), DEVICE)) {
      AttentionRequest request =
          AttentionRequest.builder()
              .q(x)
              .k(x)
              .v(x)
              .o(o)
              .packed(new PackedSequences(at, at, rows, rows))
              .options(EXACT)
              .stream(stream)
              .build();
      Attention.sdpa(request);
      float[] first = o.toFloatArray(stream);
      try (CudaGraph graph = CudaGraph.capture(stream, () -> Attention.sdpa(request))) {
        at.copyFrom(HostTensor.ofInts(offsets[1]), stream);
        graph.launch(stream);
        float[] launched = o.toFloatArray(stream);
        Attention.sdpa(request);
        assertEquals(launched, o.toFloatArray(stream));
        assertTrue(!Arrays.equals(launched, first));
        at.copyFrom(HostTensor.ofInts(offsets[0]), stream);
        graph.launch(stream);
        assertEquals(o.toFloatArray(stream), first);
      }
    }
  }
}
