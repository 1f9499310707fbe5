package org.attn4j.samples;

import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;

/**
 * What the command line asks for.
 *
 * @param size pixels on a side; 0 chooses 256 where a GPU backend is ready and 128 elsewhere
 * @param sigma standard deviation of the noise; channel values run from 0 to 1
 * @param out folder that the pictures are written to
 * @param backends names of the backends to run; empty means every one that is available
 * @param image the picture to denoise, or null for the one that ships with the demo
 * @param order how pixels become tokens for the dense backends; SpargeAttn runs in every order
 */
record DemoOptions(
    int size, double sigma, Path out, List<String> backends, Path image, PictureOrder order) {

  static final String USAGE =
      String.join(
          System.lineSeparator(),
          "Denoises a picture by attention with every backend that is available here.",
          "  --size N         pixels on a side (default: 256 with a GPU, 128 without)",
          "  --sigma S        noise, as a part of the brightness range (default: 0.1)",
          "  --out DIR        where the pictures go (default: target/demo)",
          "  --backend LIST   names separated by commas, such as sage,exact (default: all)",
          "  --image FILE     a PNG or JPEG of your own (default: the cat that ships with the demo)",
          "  --order ORDER    of the tokens of dense backends: raster, tiles or hilbert (default: tiles)");

  /** The picture that ships with the demo. */
  static final String PHOTOGRAPH = "chelsea.png";

  /** What the results call the picture. */
  String pictureName() {
    return image == null ? PHOTOGRAPH : image.getFileName().toString();
  }

  static DemoOptions parse(String... args) {
    int size = 0;
    double sigma = 0.1;
    Path out = Path.of("target", "demo");
    List<String> backends = List.of();
    Path image = null;
    PictureOrder order = PictureOrder.TILES;
    for (int i = 0; i < args.length; i += 2) {
      String value = i + 1 < args.length ? args[i + 1] : null;
      if (value == null) {
        throw new IllegalArgumentException(args[i] + " has no value");
      }
      switch (args[i]) {
        case "--size" -> size = (int) positive(args[i], value);
        case "--sigma" -> sigma = positive(args[i], value);
        case "--out" -> out = Path.of(value);
        case "--backend" -> backends = Arrays.asList(value.split(","));
        case "--image" -> image = Path.of(value);
        case "--order" -> order = PictureOrder.parse(value);
        default -> throw new IllegalArgumentException(args[i] + " is no option of this demo");
      }
    }
    return new DemoOptions(size, sigma, out, backends, image, order);
  }

  private static double positive(String option, String value) {
    try {
      double number = Double.parseDouble(value);
      if (number > 0 && number < 1e6) {
        return number;
      }
    } catch (NumberFormatException e) {
      // the sentence below says it
    }
    throw new IllegalArgumentException(option + " is " + value + "; a number above 0 is accepted");
  }
}
