package org.attn4j.samples;

import java.util.Random;

/** The exact result at some of the pixels, to hold the backends against at any picture size. */
public final class ExactSample {
  private static final int MOST_PIXELS = 256;
  private static final long SEED = 2;

  private final int[] pixels;
  private final double[][] colours; // [sampled pixel][channel]

  public ExactSample(Picture noisy, double h) {
    pixels =
        new Random(SEED)
            .ints(0, noisy.pixels())
            .distinct()
            .limit(Math.min(MOST_PIXELS, noisy.pixels()))
            .toArray();
    colours = new ExactNlm(noisy, h).denoise(pixels);
  }

  public int count() {
    return pixels.length;
  }

  /** The mean distance from the exact result, divided by the mean of the exact result. */
  public double relativeL1(Picture picture) {
    double distance = 0;
    double size = 0;
    for (int i = 0; i < pixels.length; i++) {
      for (int c = 0; c < Picture.CHANNELS; c++) {
        distance += Math.abs(picture.value(pixels[i], c) - colours[i][c]);
        size += Math.abs(colours[i][c]);
      }
    }
    return distance / size;
  }
}
