package org.attn4j.gpu;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.Arrays;
import java.util.Random;
import java.util.stream.IntStream;
import org.attn4j.Attention;
import org.attn4j.AttentionMask;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.CausalMask;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceTensor;
import org.attn4j.HostTensor;
import org.attn4j.backend.CpuAttention;
import org.attn4j.testing.Gaussian;
import org.testng.SkipException;
import org.testng.annotations.Test;

/**
 * Masks of keys on every kernel but SpargeAttn: the same bits as a call whose keys and values hold
 * what the mask shows, closed up, with lengths. Behind hidden keys lies NaN.
 */
@Test(groups = "gpu")
public class GpuKeyMaskTest extends GpuTestBase {
  private static final int CASES = 16;
  private static final int[] LENGTHS = {1, 31, 64, 129, 200, 600};
  private static final int[] HEAD_DIMS = {40, 64, 96, 128};
  private static final int[] SHOWN = {0, 2, 50, 90, 100};

  /** One random case, on the host. */
  private static final class Case {
    final int batch;
    final int headsKv;
    final int lk;
    final int headDim;
    final HostTensor q;
    final HostTensor k;
    final HostTensor v;
    final boolean[][] shown;

    Case(Random random, DType dtype) {
      batch = 1 + random.nextInt(3);
      headsKv = 1 + random.nextInt(2);
      int headsQ = headsKv * (1 + random.nextInt(3));
      int lq = LENGTHS[random.nextInt(LENGTHS.length)];
      lk = LENGTHS[random.nextInt(LENGTHS.length)];
      headDim = HEAD_DIMS[random.nextInt(HEAD_DIMS.length)];
      q = Gaussian.tensor(random, dtype, batch, headsQ, lq, headDim);
      k = Gaussian.tensor(random, dtype, batch, headsKv, lk, headDim);
      v = Gaussian.tensor(random, dtype, batch, headsKv, lk, headDim);
      shown = new boolean[batch][lk];
      int share = SHOWN[random.nextInt(SHOWN.length)];
      for (boolean[] row : shown) {
        for (int j = 0; j < lk; j++) {
          row[j] = random.nextInt(100) < share;
        }
      }
      for (int b = 0; b < batch; b++) {
        for (int j = 0; j < lk; j++) {
          for (int h = 0; h < headsKv && !shown[b][j]; h++) {
            k.set(Float.NaN, b, h, j, j % headDim);
            v.set(Float.POSITIVE_INFINITY, b, h, j, j % headDim);
          }
        }
      }
    }

    HostTensor mask() {
      HostTensor mask = HostTensor.allocate(DType.INT8, batch, lk);
      for (int b = 0; b < batch; b++) {
        for (int j = 0; j < lk; j++) {
          mask.set(shown[b][j] ? 1 + j % 127 : 0, b, j);
        }
      }
      return mask;
    }

    int[] lengths() {
      return Arrays.stream(shown).mapToInt(row -> (int) count(row)).toArray();
    }

    private static long count(boolean[] row) {
      return IntStream.range(0, row.length).filter(j -> row[j]).count();
    }

    /** What is shown of a tensor in front, NaN behind. */
    HostTensor closedUp(HostTensor from) {
      HostTensor to = HostTensor.allocate(from.dtype(), batch, headsKv, lk, headDim);
      for (int b = 0; b < batch; b++) {
        for (int h = 0; h < headsKv; h++) {
          int row = 0;
          for (int j = 0; j < lk; j++) {
            for (int d = 0; d < headDim && shown[b][j]; d++) {
              to.set(from.get(b, h, j, d), b, h, row, d);
            }
            row += shown[b][j] ? 1 : 0;
          }
          for (; row < lk; row++) {
            to.set(Float.NaN, b, h, row, row % headDim);
          }
        }
      }
      return to;
    }

    @Override
    public String toString() {
      return q.dtype() + " q " + q.shape() + " k " + k.shape() + " " + Arrays.toString(lengths());
    }
  }

  @Test(dataProvider = "kernels")
  public void hiddenKeysAreNotThere(GpuKernel kernel) {
    Random random = new Random(SEED);
    try (CudaStream stream = CudaStream.create(DEVICE)) {
      for (int n = 0; n < CASES; n++) {
        check(kernel, new Case(random, n % 2 == 0 ? DType.FLOAT16 : DType.BFLOAT16), stream);
      }
    }
  }

  private static void check(GpuKernel kernel, Case test, CudaStream stream) {
    try (DeviceTensor mask = DeviceTensor.copyOf(test.mask(), DEVICE);
        DeviceTensor lengths = DeviceTensor.copyOf(HostTensor.ofInts(test.lengths()), DEVICE)) {
      String where = kernel + " " + test;
      AttentionRequest.Builder masked = AttentionRequest.builder().mask(AttentionMask.keys(mask));
      AttentionRequest.Builder closedUp = AttentionRequest.builder().kvLengths(lengths);
      AttentionOptions options = kernel.options().build();
      float[][] found = run(options, masked, test, test.k, test.v, stream);
      float[][] expected =
          run(options, closedUp, test, test.closedUp(test.k), test.closedUp(test.v), stream);
      assertEquals(found[0], expected[0], "o of " + where);
      assertEquals(found[1], expected[1], "lse of " + where);
      for (float x : found[0]) {
        assertTrue(Float.isFinite(x), where);
      }
    }
  }

  /** Beside a causal mask, where Hopper's FP8 alone serves: against the CPU backend in fp64. */
  @Test
  public void fp8HidesKeysBesideACausalMask() {
    if (!GpuKernel.available().contains(GpuKernel.INT8_FP8_SM90)) {
      throw new SkipException("no FP8 kernel of Hopper's");
    }
    Random random = new Random(SEED);
    try (CudaStream stream = CudaStream.create(DEVICE)) {
      for (int n = 0; n < CASES; n++) {
        Case test = new Case(random, n % 2 == 0 ? DType.FLOAT16 : DType.BFLOAT16);
        CausalMask causal = n % 4 < 2 ? CausalMask.TOP_LEFT : CausalMask.BOTTOM_RIGHT;
        AttentionOptions options = GpuKernel.INT8_FP8_SM90.options().causalMask(causal).build();
        float[][] found;
        try (DeviceTensor mask = DeviceTensor.copyOf(test.mask(), DEVICE)) {
          AttentionRequest.Builder request =
              AttentionRequest.builder().mask(AttentionMask.keys(mask));
          found = run(options, request, test, test.k, test.v, stream);
        }
        compare(found, expected(test, causal), causal + " " + test);
      }
    }
  }

  private static float[][] expected(Case test, CausalMask causal) {
    long[] sizes = test.q.shape().sizes();
    HostTensor o = HostTensor.allocate(DType.FLOAT32, sizes);
    HostTensor lse = HostTensor.allocate(DType.FLOAT32, sizes[0], sizes[1], sizes[2]);
    CpuAttention.run(
        AttentionRequest.builder()
            .q(widened(test.q))
            .k(widened(test.k))
            .v(widened(test.v))
            .o(o)
            .lse(lse)
            .mask(AttentionMask.keys(test.mask()))
            .options(AttentionOptions.builder().causalMask(causal).build())
            .build(),
        CpuAttention.Precision.FP64);
    return new float[][] {o.toFloatArray(), lse.toFloatArray()};
  }

  private static HostTensor widened(HostTensor tensor) {
    return HostTensor.of(DType.FLOAT32, tensor.toFloatArray(), tensor.shape().sizes());
  }

  /** FP8 rounds P and V: 0.035 of the output on average; few rows scatter. */
  private static void compare(float[][] found, float[][] expected, String where) {
    double error = 0;
    double size = 0;
    for (int i = 0; i < found[0].length; i++) {
      error += Math.abs((double) found[0][i] - expected[0][i]);
      size += Math.abs(expected[0][i]);
    }
    assertTrue(size == 0 ? error == 0 : error / size < 0.08, where + ": " + error / size);
    for (int i = 0; i < found[1].length; i++) {
      boolean same = found[1][i] == expected[1][i];
      assertTrue(same || Math.abs(found[1][i] - expected[1][i]) < 0.15, "lse of " + where);
    }
  }

  /** The output and the log-sum-exp. */
  private static float[][] run(
      AttentionOptions options,
      AttentionRequest.Builder request,
      Case test,
      HostTensor keys,
      HostTensor values,
      CudaStream stream) {
    long[] sizes = test.q.shape().sizes();
    try (DeviceTensor q = DeviceTensor.copyOf(test.q, DEVICE);
        DeviceTensor k = DeviceTensor.copyOf(keys, DEVICE);
        DeviceTensor v = DeviceTensor.copyOf(values, DEVICE);
        DeviceTensor o = DeviceTensor.allocate(DEVICE, test.q.dtype(), sizes);
        DeviceTensor lse =
            DeviceTensor.allocate(DEVICE, DType.FLOAT32, sizes[0], sizes[1], sizes[2])) {
      Attention.sdpa(request.q(q).k(k).v(v).o(o).lse(lse).options(options).stream(stream).build());
      return new float[][] {o.toFloatArray(stream), lse.toFloatArray(stream)};
    }
  }
}
