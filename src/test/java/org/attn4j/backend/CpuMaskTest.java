package org.attn4j.backend;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNull;
import static org.testng.Assert.assertTrue;

import java.util.Random;
import org.attn4j.AttentionMask;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.CausalMask;
import org.attn4j.DType;
import org.attn4j.HostTensor;
import org.attn4j.TensorLayout;
import org.attn4j.backend.CpuAttention.Precision;
import org.attn4j.testing.Gaussian;
import org.attn4j.testing.MaskCase;
import org.attn4j.testing.NaiveAttention;
import org.testng.Assert;
import org.testng.annotations.Test;

/** Masks on the CPU backend against the naive formula in double, with a mask of its own. */
public class CpuMaskTest {
  private static final long SEED = 20261130;
  private static final int CASES = 1000;
  private static final int[] LENGTHS = {1, 2, 7, 24, 63, 64, 65, 128, 129, 150, 200};
  private static final int[] HEAD_DIMS = {1, 3, 8, 20, 40, 64};
  private static final float[] GARBAGE = {
    Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY, 60000f, -60000f
  };

  /** One random case. */
  private static final class Case {
    final DType dtype;
    final AttentionOptions options;
    final int batch;
    final int headsQ;
    final int headsKv;
    final int lq;
    final int lk;
    final int headDim;
    final HostTensor q;
    final HostTensor k;
    final HostTensor v;
    final HostTensor o;
    final HostTensor lse;
    final int[] lengths;
    final MaskCase mask;
    final NaiveAttention naive;
    int hiddenKeys;

    Case(Random random, int number) {
      dtype = new DType[] {DType.FLOAT16, DType.BFLOAT16, DType.FLOAT32}[random.nextInt(3)];
      batch = 1 + random.nextInt(2);
      headsKv = 1 + random.nextInt(2);
      headsQ = headsKv * (1 + random.nextInt(3));
      lq = LENGTHS[random.nextInt(LENGTHS.length)];
      lk = random.nextBoolean() ? lq : LENGTHS[random.nextInt(LENGTHS.length)];
      headDim = HEAD_DIMS[random.nextInt(HEAD_DIMS.length)];
      TensorLayout layout = TensorLayout.values()[random.nextInt(2)];
      CausalMask causal =
          random.nextInt(3) == 0 ? CausalMask.values()[random.nextInt(3)] : CausalMask.NONE;
      options = AttentionOptions.builder().layout(layout).causalMask(causal).build();
      q = tensor(random, headsQ, lq);
      k = tensor(random, headsKv, lk);
      v = tensor(random, headsKv, lk);
      o = tensor(random, headsQ, lq);
      lse = HostTensor.allocate(DType.FLOAT32, batch, headsQ, lq);
      lengths = random.nextInt(4) == 0 ? random.ints(batch, 0, lk + 1).toArray() : null;
      MaskCase.Kind[] kinds = MaskCase.Kind.values();
      mask = new MaskCase(random, kinds[number % kinds.length], batch, headsQ, lq, lk);
      naive = new NaiveAttention(q, k, v, options, lengths, mask.function);
      spoilHiddenKeys(random);
    }

    private HostTensor tensor(Random random, int heads, int rows) {
      boolean hnd = options.layout() == TensorLayout.HND;
      return Gaussian.tensor(random, dtype, batch, hnd ? heads : rows, hnd ? rows : heads, headDim);
    }

    /** Puts anything where no query looks, and NaN into a key that some may see. */
    private void spoilHiddenKeys(Random random) {
      for (int b = 0; b < batch; b++) {
        for (int h = 0; h < headsKv; h++) {
          int spoilt = random.nextInt(3) == 0 ? random.nextInt(lk) : -1;
          for (int j = 0; j < lk; j++) {
            if (isHidden(b, h, j)) {
              hiddenKeys++;
              spoil(b, h, j, GARBAGE[random.nextInt(GARBAGE.length)]);
            } else if (j == spoilt) {
              spoil(b, h, j, Float.NaN);
            }
          }
        }
      }
    }

    private boolean isHidden(int b, int kvHead, int j) {
      int group = headsQ / headsKv;
      for (int h = kvHead * group; h < (kvHead + 1) * group; h++) {
        for (int i = 0; i < lq; i++) {
          if (mask.function.of(b, h, i, j) != Double.NEGATIVE_INFINITY) {
            return false;
          }
        }
      }
      return true;
    }

    private void spoil(int b, int h, int j, float value) {
      boolean hnd = options.layout() == TensorLayout.HND;
      int c = j % headDim;
      for (HostTensor tensor : new HostTensor[] {k, v}) {
        tensor.set(value, hnd ? new long[] {b, h, j, c} : new long[] {b, j, h, c});
      }
    }

    AttentionRequest request() {
      return request(mask.mask);
    }

    AttentionRequest request(AttentionMask other) {
      return AttentionRequest.builder()
          .q(q)
          .k(k)
          .v(v)
          .o(o)
          .lse(lse)
          .kvLengths(lengths == null ? null : HostTensor.ofInts(lengths))
          .mask(other)
          .options(options)
          .build();
    }

    @Override
    public String toString() {
      return dtype + " q " + q + " k " + k + " " + options + " mask " + mask;
    }
  }

  // Scores and biases stay below 60, so each is off by a few units of float: CpuAttentionTest.
  @Test
  public void fp32MeetsTheFormula() {
    sweep(SEED, CASES, Precision.FP32, 3e-4);
  }

  @Test
  public void fp64MeetsTheFormula() {
    sweep(SEED + 1, CASES / 4, Precision.FP64, 1e-9);
  }

  private static void sweep(long seed, int cases, Precision precision, double arithmetic) {
    Random random = new Random(seed);
    int emptyRows = 0;
    int nanRows = 0;
    int hiddenKeys = 0;
    for (int n = 0; n < cases; n++) {
      Case test = new Case(random, n);
      CpuAttention.run(test.request(), precision);
      int[] found = check(test, arithmetic);
      emptyRows += found[0];
      nanRows += found[1];
      hiddenKeys += test.hiddenKeys;
    }
    assertTrue(emptyRows > cases, "rows without a key: " + emptyRows);
    assertTrue(nanRows > cases, "rows with NaN: " + nanRows);
    assertTrue(hiddenKeys > 10 * cases, "keys hidden from all: " + hiddenKeys);
  }

  /** Rows without a key, and rows that see NaN. */
  private static int[] check(Case test, double arithmetic) {
    boolean hnd = test.options.layout() == TensorLayout.HND;
    int[] found = new int[2];
    for (int b = 0; b < test.batch; b++) {
      for (int h = 0; h < test.headsQ; h++) {
        for (int i = 0; i < test.lq; i += 1 + i / 8) {
          NaiveAttention.Row row = test.naive.row(b, h, i);
          found[0] += row.lse() == Double.NEGATIVE_INFINITY ? 1 : 0;
          found[1] += Double.isNaN(row.lse()) ? 1 : 0;
          for (int c = 0; c < test.headDim; c++) {
            double actual = hnd ? test.o.get(b, h, i, c) : test.o.get(b, i, h, c);
            assertClose(
                actual,
                row.output()[c],
                Rounding.tolerance(test.dtype, row.output()[c], arithmetic),
                test);
          }
          double tolerance = arithmetic + Math.abs(row.lse()) * 0x1p-23;
          assertClose(test.lse.get(b, h, i), row.lse(), tolerance, test);
        }
      }
    }
    return found;
  }

  private static void assertClose(double actual, double expected, double tolerance, Case test) {
    boolean same = Double.compare(actual + 0.0, expected + 0.0) == 0; // NaN too; -0 is 0
    if (!same && !(Math.abs(actual - expected) <= tolerance)) {
      Assert.fail("found " + actual + ", expected " + expected + " in " + test);
    }
  }

  /** A mask as tensors says what it says itself: ALiBi's biases are rounded to float, no more. */
  @Test
  public void tensorsOfAMaskMeetTheFormulaToo() {
    Random random = new Random(SEED + 2);
    for (int n = 0; n < CASES / 5; n++) {
      Case test = new Case(random, n);
      AttentionMask tensors = test.mask.mask.toTensors(test.request().dims());
      assertNull(tensors.deviceObstacle(), tensors.toString());
      CpuAttention.run(test.request(tensors), Precision.FP32);
      check(test, 3e-4);
    }
  }

  /** A mask that does what a causal mask or lengths do gives the same bits. */
  @Test
  public void causalAndLengthsAsMasksAreTheSameBits() {
    Random random = new Random(7);
    for (int n = 0; n < 20; n++) {
      int lq = 1 + random.nextInt(140);
      int lk = 1 + random.nextInt(300);
      HostTensor q = Gaussian.tensor(random, DType.FLOAT16, 2, 2, lq, 16);
      HostTensor k = Gaussian.tensor(random, DType.FLOAT16, 2, 2, lk, 16);
      HostTensor v = Gaussian.tensor(random, DType.FLOAT16, 2, 2, lk, 16);
      int[] lengths = random.ints(2, 0, lk + 1).toArray();
      byte[] seen = new byte[2 * lk];
      for (int i = 0; i < seen.length; i++) {
        seen[i] = (byte) (i % lk < lengths[i / lk] ? 1 : 0);
      }
      AttentionOptions causal =
          AttentionOptions.builder().causalMask(CausalMask.BOTTOM_RIGHT).build();
      float[] direct = run(base(q, k, v).options(causal).kvLengths(HostTensor.ofInts(lengths)), lq);
      HostTensor tensor = HostTensor.allocate(DType.INT8, 2, lk);
      for (int i = 0; i < seen.length; i++) {
        tensor.set(seen[i], i / lk, i % lk);
      }
      AttentionMask mask =
          AttentionMask.slidingWindow(Long.MAX_VALUE, 0).and(AttentionMask.keys(tensor));
      assertEquals(run(base(q, k, v).mask(mask), lq), direct);
    }
  }

  private static AttentionRequest.Builder base(HostTensor q, HostTensor k, HostTensor v) {
    return AttentionRequest.builder().q(q).k(k).v(v);
  }

  private static float[] run(AttentionRequest.Builder builder, int lq) {
    HostTensor o = HostTensor.allocate(DType.FLOAT16, 2, 2, lq, 16);
    AttentionRequest request = builder.o(o).build();
    CpuAttention.run(request, Precision.FP32);
    return o.toFloatArray();
  }
}
