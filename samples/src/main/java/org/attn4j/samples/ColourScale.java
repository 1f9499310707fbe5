package org.attn4j.samples;

import java.util.List;
import java.util.Locale;

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

  /** What the colours mean. */
  static List<Sheet.Key> legend(double reach) {
    return List.of(
        new Sheet.Key(BLUE, String.format(Locale.ROOT, "darker by %.2f", reach)),
        new Sheet.Key(new float[] {1, 1, 1}, "the same"),
        new Sheet.Key(RED, String.format(Locale.ROOT, "brighter by %.2f", reach)));
  }

  private static void copy(double value, float[] colours, int at) {
    float[] end = value > 0 ? RED : BLUE;
    float share = (float) Math.min(1, Math.abs(value));
    for (int c = 0; c < Picture.CHANNELS; c++) {
      colours[at + c] = 1 + share * (end[c] - 1);
    }
  }
}
