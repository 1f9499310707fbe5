package org.attn4j.server.diffusion;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import org.attn4j.SdpaBackend;
import org.attn4j.SparsityOptions;
import org.testng.SkipException;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

/** Attention over our own tensors on a GPU against the CPU backend's; skipped without a GPU. */
public class DeviceAttentionTest {
  private static final int SIDE = 32; // tokens
  private static final int HEADS = 3;
  private static final int COUNT = SIDE * SIDE * HEADS * Layers.HEAD_DIM;

  private final float[] q = twice(Formula.numbers(COUNT, 1)); // as wide as N(0, 1)
  private final float[] k = twice(Formula.numbers(COUNT, 2));
  private final float[] v = Formula.numbers(COUNT, 3);

  private static float[] twice(float[] x) {
    for (int i = 0; i < x.length; i++) {
      x[i] *= 2;
    }
    return x;
  }

  @BeforeClass
  public void needGpu() {
    DeviceAttention.obstacle()
        .ifPresent(
            sentence -> {
              throw new SkipException(sentence);
            });
  }

  private double error(SelfAttention attention) {
    float[] expected = new SelfAttention(null).onGrid(q, k, v, HEADS, SIDE, SIDE);
    float[] actual = attention.onGrid(q, k, v, HEADS, SIDE, SIDE);
    double error = 0;
    double all = 0;
    for (int i = 0; i < COUNT; i++) {
      error += Math.abs(actual[i] - expected[i]);
      all += Math.abs(expected[i]);
    }
    return error / all;
  }

  @Test
  public void denseIsWhatTheCpuComputes() {
    DeviceAttention exact = new DeviceAttention(SdpaBackend.EXACT, null);
    assertTrue(error(exact) < 0.005);
    assertEquals(exact.backend(), "exact");
    DeviceAttention sage = new DeviceAttention(SdpaBackend.SAGE, null);
    assertTrue(error(sage) < 0.06);
    assertEquals(sage.backend(), "sage");
  }

  @Test
  public void sparseSaysWhatItLeftOut() {
    SparsityOptions all = SparsityOptions.DEFAULTS.withSimthreshd1(1).withCdfthreshd(1);
    DeviceAttention whole = new DeviceAttention(SdpaBackend.AUTO, all);
    assertTrue(error(whole) < 0.06);
    assertEquals(whole.leftOut(), 0.0);
    assertEquals(whole.backend(), "sparge");
    SparsityOptions some = SparsityOptions.DEFAULTS.withSimthreshd1(-1).withCdfthreshd(0.3f);
    DeviceAttention part = new DeviceAttention(SdpaBackend.AUTO, some);
    part.onGrid(q, k, v, HEADS, SIDE, SIDE);
    assertTrue(part.leftOut() > 0.2 && part.leftOut() < 1, "left out " + part.leftOut());
  }
}
