package org.attn4j.testing;

import org.attn4j.QuantGranularity;

/**
 * The INT8 rules as quant_int8 of attn4j.h documents them, in fp32 and in this order: subtract the
 * mean, the largest absolute value of the rows that share a scale, multiply by 127 / max, round to
 * nearest even.
 */
public final class QuantReference {
  private static final float SMALLEST_MAX = 1e-12f;

  private QuantReference() {}

  /**
   * One head's result.
   *
   * @param values INT8 [s][d]
   * @param scales [s]: the scale of each row, repeated over the rows that share it
   */
  public record Quantised(byte[] values, float[] scales) {}

  /** Which scale a row takes. */
  public static int group(int row, QuantGranularity granularity, boolean isKey) {
    return switch (granularity) {
      case PER_BLOCK -> row / (isKey ? 64 : 128);
      case PER_WARP -> row / (isKey ? 64 : 32);
      case PER_THREAD -> isKey ? row / 32 * 4 + row % 8 / 2 : row;
    };
  }

  /** Rows of one head, [s][d]; {@code mean} [d] may be null. */
  public static Quantised quantise(
      float[] rows, int headDim, float[] mean, QuantGranularity granularity, boolean isKey) {
    int count = rows.length / headDim;
    float[] shifted = new float[rows.length];
    float[] maxima = new float[count == 0 ? 0 : groups(count)];
    for (int r = 0; r < count; r++) {
      int group = group(r, granularity, isKey);
      for (int c = 0; c < headDim; c++) {
        float x = rows[r * headDim + c] - (mean == null ? 0 : mean[c]);
        shifted[r * headDim + c] = x;
        maxima[group] = Math.max(maxima[group], Math.abs(x));
      }
    }
    byte[] values = new byte[rows.length];
    float[] scales = new float[count];
    for (int r = 0; r < count; r++) {
      float max = Math.max(maxima[group(r, granularity, isKey)], SMALLEST_MAX);
      float inverse = 127f / max;
      scales[r] = max * (1f / 127f);
      for (int c = 0; c < headDim; c++) {
        float scaled = shifted[r * headDim + c] * inverse;
        values[r * headDim + c] = (byte) Math.max(-127, Math.min(127, Math.rint(scaled)));
      }
    }
    return new Quantised(values, scales);
  }

  // Enough for every granularity.
  private static int groups(int rows) {
    return rows + 4;
  }

  /** The mean of each channel in double. */
  public static double[] mean(float[] rows, int headDim) {
    double[] mean = new double[headDim];
    int count = rows.length / headDim;
    for (int i = 0; i < rows.length; i++) {
      mean[i % headDim] += rows[i];
    }
    for (int c = 0; c < headDim; c++) {
      mean[c] = count == 0 ? 0 : mean[c] / count;
    }
    return mean;
  }
}
