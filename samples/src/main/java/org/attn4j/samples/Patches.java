package org.attn4j.samples;

/**
 * The patch around each pixel: 7 x 7 luminances, weighted by a Gaussian whose weights add up to 1.
 * Pixels past the edge mirror those inside it. The squared distance of two patches of pure noise is
 * 2 sigma^2 on average, whatever their size.
 */
final class Patches {
  static final int SIDE = 7;
  static final int FEATURES = SIDE * SIDE;

  private static final int RADIUS = SIDE / 2;
  private static final double GAUSSIAN = 1.5; // pixels

  private final int width;
  private final int height;
  private final float[] luminance; // [height][width]
  private final double[] rootWeights = new double[FEATURES];

  Patches(Picture picture) {
    if (Math.min(picture.width(), picture.height()) <= RADIUS) {
      throw new IllegalArgumentException(
          String.format(
              "the picture is %dx%d; a patch needs at least %d pixels each way",
              picture.width(), picture.height(), RADIUS + 1));
    }
    width = picture.width();
    height = picture.height();
    luminance = picture.luminance();
    double sum = 0;
    for (int f = 0; f < FEATURES; f++) {
      double dx = f % SIDE - RADIUS;
      double dy = f / SIDE - RADIUS;
      rootWeights[f] = Math.exp(-(dx * dx + dy * dy) / (2 * GAUSSIAN * GAUSSIAN));
      sum += rootWeights[f];
    }
    for (int f = 0; f < FEATURES; f++) {
      rootWeights[f] = Math.sqrt(rootWeights[f] / sum);
    }
  }

  int count() {
    return width * height;
  }

  /**
   * Writes the patch around {@code pixel}: luminance times the root of its weight, so that a plain
   * dot product is weighted.
   */
  void copy(int pixel, double[] patch) {
    int x = pixel % width - RADIUS;
    int y = pixel / width - RADIUS;
    for (int f = 0; f < FEATURES; f++) {
      int column = mirrored(x + f % SIDE, width);
      int row = mirrored(y + f / SIDE, height);
      patch[f] = rootWeights[f] * luminance[row * width + column];
    }
  }

  private static int mirrored(int position, int size) {
    int folded = Math.abs(position);
    return folded < size ? folded : 2 * (size - 1) - folded;
  }
}
