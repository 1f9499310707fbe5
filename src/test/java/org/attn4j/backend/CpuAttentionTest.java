package org.attn4j.backend;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.Arrays;
import java.util.Random;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.CausalMask;
import org.attn4j.DType;
import org.attn4j.HostTensor;
import org.attn4j.TensorLayout;
import org.attn4j.TensorShape;
import org.attn4j.backend.CpuAttention.Precision;
import org.attn4j.testing.Gaussian;
import org.attn4j.testing.NaiveAttention;
import org.testng.Assert;
import org.testng.annotations.Test;

/** The CPU backend against the naive formula in double. */
public class CpuAttentionTest {
  private static final long SEED = 20261123;
  private static final int CASES = 300;

  // Around the blocks of 64 queries and 128 keys.
  private static final int[] LENGTHS = {0, 1, 2, 7, 63, 64, 65, 127, 128, 129, 200, 257};
  private static final int[] HEAD_DIMS = {1, 3, 8, 17, 40, 64, 96, 128, 160};
  private static final int[] GROUPS = {1, 2, 3, 8};

  /** One random case, all tensors and options. */
  private static final class Case {
    final DType dtype;
    final AttentionOptions options;
    final int batch;
    final int headsQ;
    final int lq;
    final int headDim;
    final HostTensor q;
    final HostTensor k;
    final HostTensor v;
    final HostTensor o;
    final HostTensor lse;
    final int[] lengths;
    final AttentionRequest request;

    Case(Random random) {
      dtype = pick(random, DType.FLOAT16, DType.BFLOAT16, DType.FLOAT32);
      batch = 1 + random.nextInt(2);
      int headsKv = 1 + random.nextInt(2);
      headsQ = headsKv * GROUPS[random.nextInt(GROUPS.length)];
      lq = LENGTHS[random.nextInt(LENGTHS.length)];
      int lk = random.nextInt(4) == 0 ? lq : LENGTHS[random.nextInt(LENGTHS.length)];
      headDim = HEAD_DIMS[random.nextInt(HEAD_DIMS.length)];
      AttentionOptions.Builder builder =
          AttentionOptions.builder()
              .layout(pick(random, TensorLayout.values()))
              .causalMask(pick(random, CausalMask.values()));
      if (random.nextInt(3) == 0) {
        builder.smScale(pick(random, 0f, -0.3f, 1e-4f, 0.7f));
      }
      options = builder.build();
      q = tensor(random, headsQ, lq);
      k = tensor(random, headsKv, lk);
      v = tensor(random, headsKv, lk);
      o = tensor(random, headsQ, lq);
      lse = random.nextBoolean() ? HostTensor.allocate(DType.FLOAT32, batch, headsQ, lq) : null;
      lengths = random.nextInt(3) == 0 ? random.ints(batch, 0, lk + 1).toArray() : null;
      request =
          AttentionRequest.builder()
              .q(q)
              .k(k)
              .v(v)
              .o(o)
              .lse(lse)
              .kvLengths(lengths == null ? null : HostTensor.ofInts(lengths))
              .options(options)
              .build();
    }

    /** A view with random gaps, in either order of dimensions; sometimes with strided channels. */
    private HostTensor tensor(Random random, int heads, int rows) {
      boolean hnd = options.layout() == TensorLayout.HND;
      long[] sizes = {batch, hnd ? heads : rows, hnd ? rows : heads, headDim};
      int[] order = random.nextBoolean() ? new int[] {0, 1, 2, 3} : new int[] {0, 2, 1, 3};
      long[] strides = new long[4];
      long stride = 1 + random.nextInt(2);
      for (int i = 3; i >= 0; i--) {
        strides[order[i]] = stride;
        stride = stride * Math.max(sizes[order[i]], 1) + random.nextInt(5);
      }
      long offset = random.nextInt(9);
      float[] values = Gaussian.values(random, (int) (stride + offset));
      HostTensor storage = Gaussian.of(dtype, values, values.length);
      return HostTensor.view(
          storage.memory(), offset * dtype.byteSize(), dtype, TensorShape.strided(sizes, strides));
    }

    @Override
    public String toString() {
      return dtype + " q " + q + " k " + k + " " + options + " " + Arrays.toString(lengths);
    }
  }

  @SafeVarargs
  private static <T> T pick(Random random, T... values) {
    return values[random.nextInt(values.length)];
  }

  // Scores are sums of up to 160 products of N(0,1) values, times at most 0.7: |score| < 60, each
  // off by a few units of float
  // (60 * 2^-24 * 20); a weight is off by as much, and an output is an average of values below 5.
  @Test
  public void fp32MeetsTheFormula() {
    sweep(Precision.FP32, 3e-4);
  }

  @Test
  public void fp64MeetsTheFormula() {
    sweep(Precision.FP64, 1e-9);
  }

  private static void sweep(Precision precision, double arithmetic) {
    Random random = new Random(SEED);
    for (int i = 0; i < CASES; i++) {
      Case test = new Case(random);
      CpuAttention.run(test.request, precision);
      check(test, arithmetic);
    }
  }

  private static void check(Case test, double arithmetic) {
    NaiveAttention naive = new NaiveAttention(test.q, test.k, test.v, test.options, test.lengths);
    boolean hnd = test.options.layout() == TensorLayout.HND;
    for (int b = 0; b < test.batch; b++) {
      for (int h = 0; h < test.headsQ; h++) {
        for (int i = 0; i < test.lq; i += 1 + i / 8) {
          NaiveAttention.Row row = naive.row(b, h, i);
          for (int c = 0; c < test.headDim; c++) {
            double actual = hnd ? test.o.get(b, h, i, c) : test.o.get(b, i, h, c);
            assertClose(
                actual,
                row.output()[c],
                Rounding.tolerance(test.dtype, row.output()[c], arithmetic),
                test);
          }
          if (test.lse != null) {
            double tolerance = arithmetic + Math.abs(row.lse()) * 0x1p-23;
            assertClose(test.lse.get(b, h, i), row.lse(), tolerance, test);
          }
        }
      }
    }
  }

  private static void assertClose(double actual, double expected, double tolerance, Case test) {
    if (!(actual == expected || Math.abs(actual - expected) <= tolerance)) {
      Assert.fail("found " + actual + ", expected " + expected + " in " + test);
    }
  }

  @Test
  public void noKeysGiveZerosAndMinusInfinity() {
    HostTensor q = Gaussian.tensor(new Random(1), DType.FLOAT16, 1, 1, 3, 8);
    HostTensor kv = HostTensor.allocate(DType.FLOAT16, 1, 1, 0, 8);
    HostTensor o = Gaussian.tensor(new Random(2), DType.FLOAT16, 1, 1, 3, 8);
    HostTensor lse = HostTensor.allocate(DType.FLOAT32, 1, 1, 3);
    run(q, kv, kv, o, lse);
    assertEquals(o.toFloatArray(), new float[24]);
    float none = Float.NEGATIVE_INFINITY;
    assertEquals(lse.toFloatArray(), new float[] {none, none, none});
  }

  @Test
  public void nanStaysInItsRow() {
    float[] values = Gaussian.values(new Random(3), 4 * 8);
    values[2 * 8 + 5] = Float.NaN;
    HostTensor q = HostTensor.of(DType.FLOAT16, values, 1, 1, 4, 8);
    HostTensor k = Gaussian.tensor(new Random(4), DType.FLOAT16, 1, 1, 9, 8);
    HostTensor o = HostTensor.allocate(DType.FLOAT16, 1, 1, 4, 8);
    run(q, k, k, o, null);
    float[] output = o.toFloatArray();
    for (int i = 0; i < output.length; i++) {
      assertEquals(Float.isNaN(output[i]), i / 8 == 2, "element " + i);
    }
  }

  @Test
  public void hugeScoresDoNotOverflow() {
    HostTensor q = HostTensor.of(DType.FLOAT16, new float[] {60000, 60000}, 1, 1, 1, 2);
    HostTensor k =
        HostTensor.of(DType.FLOAT16, new float[] {60000, 60000, -60000, -60000}, 1, 1, 2, 2);
    HostTensor v = HostTensor.of(DType.FLOAT16, new float[] {1, 2, 3, 4}, 1, 1, 2, 2);
    HostTensor o = HostTensor.allocate(DType.FLOAT16, 1, 1, 1, 2);
    run(q, k, v, o, null);
    assertEquals(o.toFloatArray(), new float[] {1, 2});
  }

  @Test
  public void lseMergesTwoHalvesOfTheKeys() {
    HostTensor q = Gaussian.tensor(new Random(5), DType.FLOAT32, 1, 2, 5, 16);
    HostTensor k = Gaussian.tensor(new Random(6), DType.FLOAT32, 1, 2, 30, 16);
    HostTensor v = Gaussian.tensor(new Random(7), DType.FLOAT32, 1, 2, 30, 16);
    HostTensor whole = HostTensor.allocate(DType.FLOAT32, 1, 2, 5, 16);
    run(q, k, v, whole, null);
    HostTensor[] o = new HostTensor[2];
    HostTensor[] lse = new HostTensor[2];
    for (int half = 0; half < 2; half++) {
      o[half] = HostTensor.allocate(DType.FLOAT32, 1, 2, 5, 16);
      lse[half] = HostTensor.allocate(DType.FLOAT32, 1, 2, 5);
      int from = half == 0 ? 0 : 11;
      int to = half == 0 ? 11 : 30;
      run(q, k.slice(2, from, to), v.slice(2, from, to), o[half], lse[half]);
    }
    for (int h = 0; h < 2; h++) {
      for (int i = 0; i < 5; i++) {
        double weight = 1 / (1 + Math.exp(lse[1].get(0, h, i) - lse[0].get(0, h, i)));
        for (int c = 0; c < 16; c++) {
          double merged = weight * o[0].get(0, h, i, c) + (1 - weight) * o[1].get(0, h, i, c);
          assertTrue(Math.abs(merged - whole.get(0, h, i, c)) < 1e-5);
        }
      }
    }
  }

  private static void run(HostTensor q, HostTensor k, HostTensor v, HostTensor o, HostTensor lse) {
    AttentionRequest request = AttentionRequest.builder().q(q).k(k).v(v).o(o).lse(lse).build();
    CpuAttention.run(request, Precision.FP32);
  }
}
