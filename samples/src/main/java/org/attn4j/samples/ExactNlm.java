package org.attn4j.samples;

import java.util.stream.IntStream;

/**
 * Non-local means as its authors wrote it (Buades, Coll and Morel, 2005), in double precision and
 * without attention: pixel i becomes the average of all pixels j, weighted by exp(-|p_i - p_j|^2 /
 * h^2). The demo holds every backend against it.
 */
final class ExactNlm {
  private final Picture noisy;
  private final double[][] patches; // [pixel][feature]
  private final double h;

  ExactNlm(Picture noisy, double h) {
    this.noisy = noisy;
    this.h = h;
    Patches source = new Patches(noisy);
    patches = new double[source.count()][Patches.FEATURES];
    for (int i = 0; i < patches.length; i++) {
      source.copy(i, patches[i]);
    }
  }

  /** The denoised colour of each of {@code pixels}, {@code [pixel][channel]}. */
  double[][] denoise(int[] pixels) {
    return IntStream.of(pixels).parallel().mapToObj(this::denoise).toArray(double[][]::new);
  }

  private double[] denoise(int pixel) {
    double[] colour = new double[Picture.CHANNELS];
    double total = 0;
    for (int j = 0; j < patches.length; j++) {
      double weight = Math.exp(-squaredDistance(patches[pixel], patches[j]) / (h * h));
      total += weight;
      for (int c = 0; c < colour.length; c++) {
        colour[c] += weight * noisy.value(j, c);
      }
    }
    for (int c = 0; c < colour.length; c++) {
      colour[c] /= total;
    }
    return colour;
  }

  private static double squaredDistance(double[] a, double[] b) {
    double sum = 0;
    for (int f = 0; f < a.length; f++) {
      double d = a[f] - b[f];
      sum += d * d;
    }
    return sum;
  }
}
