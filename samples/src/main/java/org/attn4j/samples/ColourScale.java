package org.attn4j.samples;

/**
 * Differences as colours: white where there is none, red where the first picture is brighter, blue
 * where it is darker.
 */
public final class ColourScale {
  private static final float[] RED = {0.70f, 0.09f, 0.17f};
  private static final float[] BLUE = {0.13f, 0.40f, 0.67f};
  private static final double LEAST_REACH = 1.0 / 255;

  private ColourScale() {}

  /** The largest difference in brightness of two pictures of one size, at least 1/255. */
  public static double reach(Picture a, Picture b) {
    float[] first = a.luminance();
    float[] second = b.luminance();
    double most = LEAST_REACH;
    for (int i = 0; i < first.length; i++) {
      most = Math.max(most, Math.abs(first[i] - second[i]));
    }
    return most;
  }

  /**
   * The brightness of {@code a} less that of {@code b}; full colour at {@code reach} and beyond.
   */
  public static Picture difference(Picture a, Picture b, double reach) {
    float[] first = a.luminance();
    float[] second = b.luminance();
    float[] colours = new float[first.length * Picture.CHANNELS];
    for (int i = 0; i < first.length; i++) {
      copy((first[i] - second[i]) / reach, colours, i * Picture.CHANNELS);
    }
    return Picture.of(a.width(), a.height(), colours);
  }

  /** The legend: from -1 at the left to 1 at the right. */
  static Picture bar(int width, int height) {
    float[] colours = new float[width * height * Picture.CHANNELS];
    for (int i = 0; i < width * height; i++) {
      copy(2.0 * (i % width) / (width - 1) - 1, colours, i * Picture.CHANNELS);
    }
    return Picture.of(width, height, colours);
  }

  private static void copy(double value, float[] colours, int at) {
    float[] end = value > 0 ? RED : BLUE;
    float share = (float) Math.min(1, Math.abs(value));
    for (int c = 0; c < Picture.CHANNELS; c++) {
      colours[at + c] = 1 + share * (end[c] - 1);
    }
  }
}
