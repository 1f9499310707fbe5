package org.attn4j.testing;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import org.attn4j.QuantGranularity;
import org.testng.annotations.Test;

/**
 * The reference itself: groups by the header's definition, and what any symmetric quantiser has to
 * do.
 */
public class QuantReferenceTest {
  @Test
  public void keysOfOneThreadAreThoseOfTheDefinition() {
    // {32g + 8i + 2t + e : i < 4, e < 2}
    for (int g = 0; g < 5; g++) {
      for (int t = 0; t < 4; t++) {
        for (int i = 0; i < 4; i++) {
          for (int e = 0; e < 2; e++) {
            int row = 32 * g + 8 * i + 2 * t + e;
            assertEquals(QuantReference.group(row, QuantGranularity.PER_THREAD, true), 4 * g + t);
          }
        }
      }
    }
  }

  @Test
  public void groupSizes() {
    assertEquals(rowsPerGroup(QuantGranularity.PER_BLOCK, false), 128);
    assertEquals(rowsPerGroup(QuantGranularity.PER_BLOCK, true), 64);
    assertEquals(rowsPerGroup(QuantGranularity.PER_WARP, false), 32);
    assertEquals(rowsPerGroup(QuantGranularity.PER_WARP, true), 64);
    assertEquals(rowsPerGroup(QuantGranularity.PER_THREAD, false), 1);
    assertEquals(rowsPerGroup(QuantGranularity.PER_THREAD, true), 8);
  }

  private static int rowsPerGroup(QuantGranularity granularity, boolean isKey) {
    Map<Integer, Integer> rows = new HashMap<>();
    for (int r = 0; r < 256; r++) {
      rows.merge(QuantReference.group(r, granularity, isKey), 1, Integer::sum);
    }
    assertEquals(rows.values().stream().distinct().count(), 1);
    return rows.get(0);
  }

  @Test
  public void errorIsAtMostHalfAStepAndTheLargestValueIs127() {
    Random random = new Random(7);
    for (QuantGranularity granularity : QuantGranularity.values()) {
      for (boolean isKey : new boolean[] {false, true}) {
        int d = 24;
        float[] rows = Gaussian.values(random, 200 * d);
        float[] mean = Gaussian.values(random, d);
        QuantReference.Quantised result =
            QuantReference.quantise(rows, d, mean, granularity, isKey);
        Map<Integer, Integer> largest = new HashMap<>();
        for (int i = 0; i < rows.length; i++) {
          double x = (double) rows[i] - mean[i % d];
          double back = (double) result.values()[i] * result.scales()[i / d];
          assertTrue(Math.abs(x - back) <= result.scales()[i / d] * 0.50001);
          largest.merge(
              QuantReference.group(i / d, granularity, isKey),
              Math.abs(result.values()[i]),
              Math::max);
        }
        largest.values().forEach(value -> assertEquals(value, 127));
      }
    }
  }

  @Test
  public void zerosTakeTheSmallestScale() {
    QuantReference.Quantised result =
        QuantReference.quantise(new float[16], 8, null, QuantGranularity.PER_THREAD, false);
    assertEquals(result.values(), new byte[16]);
    assertEquals(result.scales()[0], 1e-12f * (1f / 127f));
  }

  @Test
  public void meanOfChannels() {
    assertEquals(QuantReference.mean(new float[] {1, 10, 3, 30}, 2), new double[] {2, 20});
  }
}
