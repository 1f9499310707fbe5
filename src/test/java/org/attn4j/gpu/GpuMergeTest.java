package org.attn4j.gpu;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.Random;
import org.attn4j.AttentionState;
import org.attn4j.CudaEvent;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceTensor;
import org.attn4j.HostTensor;
import org.attn4j.TensorLayout;
import org.attn4j.testing.Gaussian;
import org.testng.annotations.Test;

/** Partial results merged on the GPU against FP64, and streams that wait for each other. */
@Test(groups = "gpu")
public class GpuMergeTest extends GpuTestBase {
  private static final int PARTS = 4;

  /** Sizes of a case; rows of heads side by side. */
  private record Case(DType type, TensorLayout layout, int b, int h, int l, int d) {
    long[] sizes() {
      return layout == TensorLayout.HND ? new long[] {b, h, l, d} : new long[] {b, l, h, d};
    }

    /** Where the row of (batch and head, query) of the log-sum-exps lies in o. */
    int place(int row) {
      int query = row % l;
      int head = row / l % h;
      int batch = row / l / h;
      return layout == TensorLayout.HND ? row : (batch * l + query) * h + head;
    }
  }

  private static DeviceTensor poisoned(CudaStream stream, DType type, long... sizes) {
    DeviceTensor tensor = DeviceTensor.allocate(DEVICE, type, sizes);
    tensor.memory().fill(0xff, stream);
    return tensor;
  }

  /** Every fifth row of a part saw no key, and has NaN there. */
  private static float[][] part(Case c, Random random, int number) {
    int rows = c.b * c.h * c.l;
    float[] lse = new float[rows];
    float[] o = Gaussian.values(random, rows * c.d);
    for (int row = 0; row < rows; row++) {
      boolean none = (row + number) % 5 == 0;
      lse[row] = none ? Float.NEGATIVE_INFINITY : (float) (10 * random.nextGaussian());
      for (int i = 0; none && i < c.d; i++) {
        o[c.place(row) * c.d + i] = Float.NaN;
      }
    }
    return new float[][] {o, lse};
  }

  @Test
  public void partsAreAddedUp() {
    Random random = new Random(SEED);
    try (CudaStream stream = CudaStream.create(DEVICE)) {
      for (TensorLayout layout : TensorLayout.values()) {
        for (DType type : new DType[] {DType.FLOAT16, DType.BFLOAT16}) {
          for (int d : new int[] {5, 64, 72, 128, 256}) {
            check(new Case(type, layout, 2, 3, 37, d), random, stream);
          }
        }
      }
    }
  }

  private static void check(Case c, Random random, CudaStream stream) {
    int rows = c.b * c.h * c.l;
    double[] sums = new double[rows];
    double[] expected = new double[rows * c.d];
    try (DeviceTensor acc = poisoned(stream, DType.FLOAT32, c.sizes());
        DeviceTensor accLse = poisoned(stream, DType.FLOAT32, c.b, c.h, c.l);
        DeviceTensor o = poisoned(stream, c.type, c.sizes());
        DeviceTensor lse = poisoned(stream, DType.FLOAT32, c.b, c.h, c.l)) {
      AttentionState sum = new AttentionState(acc, accLse);
      for (int n = 0; n < PARTS; n++) {
        float[][] values = part(c, random, n);
        HostTensor host = Gaussian.of(c.type, values[0], c.sizes());
        HostTensor hostLse = HostTensor.of(DType.FLOAT32, values[1], c.b, c.h, c.l);
        add(c, host.toFloatArray(), values[1], expected, sums);
        try (DeviceTensor partO = DeviceTensor.copyOf(host, DEVICE);
            DeviceTensor partLse = DeviceTensor.copyOf(hostLse, DEVICE)) {
          AttentionState part = new AttentionState(partO, partLse);
          if (n == 0) {
            sum.set(part, c.layout, stream);
          } else if (n + 1 < PARTS) {
            sum.add(part, c.layout, stream);
          } else {
            sum.addTo(new AttentionState(o, lse), part, c.layout, stream);
          }
          stream.synchronize(); // before the part is freed
        }
      }
      compare(c, o.toFloatArray(stream), lse.toFloatArray(stream), expected, sums);
    }
  }

  private static void add(Case c, float[] o, float[] lse, double[] expected, double[] sums) {
    for (int row = 0; row < lse.length; row++) {
      double weight = Math.exp(lse[row]);
      sums[row] += weight;
      for (int i = 0; weight > 0 && i < c.d; i++) {
        expected[row * c.d + i] += weight * o[c.place(row) * c.d + i];
      }
    }
  }

  private static void compare(Case c, float[] o, float[] lse, double[] expected, double[] sums) {
    double half = c.type == DType.FLOAT16 ? 0x1p-11 : 0x1p-8;
    for (int row = 0; row < lse.length; row++) {
      double sum = sums[row];
      assertTrue(Math.abs(lse[row] - Math.log(sum)) <= 2e-5, c + ", lse of row " + row);
      for (int i = 0; i < c.d; i++) {
        double value = expected[row * c.d + i] / sum;
        double error = Math.abs(o[c.place(row) * c.d + i] - value);
        assertTrue(
            error <= half * Math.abs(value) + 2e-5, c + ", row " + row + ": off by " + error);
      }
    }
  }

  /** A long fill in one stream, a copy of it in the other that must not begin before. */
  @Test
  public void streamsWaitForEachOther() {
    int count = 1 << 26;
    try (CudaStream first = CudaStream.create(DEVICE);
        CudaStream second = CudaStream.create(DEVICE);
        CudaEvent event = CudaEvent.create(DEVICE);
        DeviceTensor memory = DeviceTensor.allocate(DEVICE, DType.INT8, count);
        HostTensor last = HostTensor.allocate(DType.INT8, 1)) {
      DeviceTensor end = memory.slice(0, count - 1, count);
      for (int round = 1; round <= 20; round++) {
        for (int n = 0; n < 10; n++) {
          memory.memory().fill(n < 9 ? 0 : round, first);
        }
        if (round % 2 == 0) {
          second.waitFor(first);
        } else {
          event.record(first);
          second.waitFor(event);
        }
        end.copyTo(last, second);
        second.synchronize();
        assertEquals(last.toFloatArray()[0], (float) round);
      }
    }
  }
}
