package org.attn4j.samples;

import org.attn4j.Float16Bits;
import org.attn4j.TokenOrder;

/**
 * A noisy picture as the tokens of an attention call.
 *
 * <p>Non-local means replaces pixel i by the average of all pixels j, weighted by {@code exp(-|p_i
 * - p_j|^2 / h^2)} with p = the patch around a pixel. The term {@code |p_i|^2} cancels when the
 * weights are normalised, so the weights are {@code softmax_j(scale * (p_i . p_j - |p_j|^2 / 2))}
 * with {@code scale = 2 / h^2}: attention with one token per pixel, the patches as queries and
 * keys, the colours as values.
 *
 * <p>A patch takes 49 of the 64 channels of a head. The key's own term {@code |p_j|^2 / 2} goes
 * into the other 15, spread evenly so that it doesn't dominate the scales of an INT8 quantisation,
 * with its mean removed, which softmax doesn't see. The mean patch is removed too, for the same
 * reason. All numbers are binary16 values, so that every backend, whatever its type, works on the
 * same input.
 */
public final class PatchTokens {
  public static final int HEAD_DIM = 64;

  private static final int SPARE = HEAD_DIM - Patches.FEATURES;

  private final int width;
  private final int height;
  private final double h;
  private final TokenOrder order;
  private final float[] queries; // [token][HEAD_DIM]
  private final float[] keys; // [token][HEAD_DIM]
  private final float[] values; // [token][HEAD_DIM]: the colour, then zeros

  /** The tokens of a picture, line by line. */
  public PatchTokens(Picture noisy, double h) {
    width = noisy.width();
    height = noisy.height();
    this.h = h;
    order = PictureOrder.RASTER.tokens(height, width);
    queries = new float[order.size() * HEAD_DIM];
    keys = new float[order.size() * HEAD_DIM];
    values = new float[order.size() * HEAD_DIM];
    fillPatches(new Patches(noisy));
    fillKeyNorms();
    fillColours(noisy);
  }

  private PatchTokens(PatchTokens raster, TokenOrder order) {
    width = raster.width;
    height = raster.height;
    h = raster.h;
    this.order = order;
    queries = order.arrange(raster.queries, HEAD_DIM);
    keys = order.arrange(raster.keys, HEAD_DIM);
    values = order.arrange(raster.values, HEAD_DIM);
  }

  /** These tokens, which come line by line, in another order. */
  public PatchTokens in(PictureOrder other) {
    return new PatchTokens(this, other.tokens(height, width));
  }

  /**
   * The filter strength that suits noise of {@code sigma} per channel: 0.8 times the noise of the
   * luminance.
   */
  public static double filterStrength(double sigma) {
    return 0.8 * sigma / Math.sqrt(Picture.CHANNELS);
  }

  public int count() {
    return order.size();
  }

  /** What multiplies the dot product of a query and a key. */
  public float scale() {
    return (float) (2 / (h * h));
  }

  public float[] queries() {
    return queries;
  }

  public float[] keys() {
    return keys;
  }

  public float[] values() {
    return values;
  }

  /** How the pixels became tokens. */
  public TokenOrder order() {
    return order;
  }

  /** The picture that the output of attention, {@code [token][HEAD_DIM]}, stands for. */
  public Picture picture(float[] output) {
    float[] pixels = order.restore(output, HEAD_DIM);
    float[] colours = new float[count() * Picture.CHANNELS];
    for (int i = 0; i < colours.length; i++) {
      colours[i] = pixels[i / Picture.CHANNELS * HEAD_DIM + i % Picture.CHANNELS];
    }
    return Picture.of(width, height, colours);
  }

  private void fillPatches(Patches patches) {
    double[] patch = new double[Patches.FEATURES];
    double[] mean = new double[Patches.FEATURES];
    for (int token = 0; token < count(); token++) {
      patches.copy(token, patch);
      for (int f = 0; f < patch.length; f++) {
        mean[f] += patch[f] / count();
      }
    }
    for (int token = 0; token < count(); token++) {
      patches.copy(token, patch);
      for (int f = 0; f < patch.length; f++) {
        float feature = rounded(patch[f] - mean[f]);
        queries[token * HEAD_DIM + f] = feature;
        keys[token * HEAD_DIM + f] = feature;
      }
    }
  }

  private void fillKeyNorms() {
    double[] norms = new double[count()]; // |p_j|^2 / 2 of the rounded patch, less its mean
    double mean = 0;
    for (int token = 0; token < norms.length; token++) {
      for (int f = 0; f < Patches.FEATURES; f++) {
        double feature = keys[token * HEAD_DIM + f];
        norms[token] += feature * feature / 2;
      }
      mean += norms[token] / norms.length;
    }
    double size = 0;
    for (int token = 0; token < norms.length; token++) {
      norms[token] -= mean;
      size += Math.abs(norms[token]) / norms.length;
    }
    // Queries and keys carry equal parts: a query holds `share`, a key the norm divided by it.
    float share = rounded(Math.sqrt(Math.max(size, 1e-6) / SPARE));
    for (int token = 0; token < norms.length; token++) {
      spreadKeyNorm(token, norms[token], share);
    }
  }

  /** Spreads one norm so that the roundings to binary16 make up for each other. */
  private void spreadKeyNorm(int token, double norm, float share) {
    double left = -norm / share;
    for (int spare = 0; spare < SPARE; spare++) {
      int channel = token * HEAD_DIM + Patches.FEATURES + spare;
      queries[channel] = share;
      keys[channel] = rounded(left / (SPARE - spare));
      left -= keys[channel];
    }
  }

  private void fillColours(Picture noisy) {
    for (int token = 0; token < count(); token++) {
      for (int c = 0; c < Picture.CHANNELS; c++) {
        values[token * HEAD_DIM + c] = rounded(noisy.value(token, c));
      }
    }
  }

  /** The nearest binary16 value. */
  private static float rounded(double value) {
    return Float16Bits.toFloat(Float16Bits.fromFloat((float) value));
  }
}
