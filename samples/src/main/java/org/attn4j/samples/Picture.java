package org.attn4j.samples;

import java.awt.image.BufferedImage;
import java.awt.image.DataBuffer;
import java.awt.image.IndexColorModel;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Random;
import javax.imageio.ImageIO;
import javax.imageio.stream.ImageOutputStream;
import javax.imageio.stream.MemoryCacheImageOutputStream;

/**
 * A colour picture, immutable. Channel values run from 0 (dark) to 1 (bright); noise may push them
 * out of that range, and they stay so until the picture is written or compared.
 */
public final class Picture {
  public static final int CHANNELS = 3;

  private static final int MOST_OF_A_PALETTE = 16;

  private final int width;
  private final int height;
  private final float[] values; // [height][width][channel]: red, green, blue

  private Picture(int width, int height, float[] values) {
    this.width = width;
    this.height = height;
    this.values = values;
  }

  /** Takes a copy of {@code values}, which are {@code [height][width][3]}. */
  public static Picture of(int width, int height, float[] values) {
    if (width < 1 || height < 1 || values.length != width * height * CHANNELS) {
      throw new IllegalArgumentException(
          String.format(
              "values has %d numbers; a %dx%d picture needs width * height * %d",
              values.length, width, height, CHANNELS));
    }
    return new Picture(width, height, values.clone());
  }

  public static Picture read(Path file) throws IOException {
    try (InputStream in = Files.newInputStream(file)) {
      return read(in, file.toString());
    }
  }

  /** Reads any format that the JDK's ImageIO knows (PNG, JPEG, GIF, BMP, ...). */
  public static Picture read(InputStream in, String name) throws IOException {
    BufferedImage image = ImageIO.read(in);
    if (image == null) {
      throw new IOException(name + " is in no picture format that this JDK reads; try PNG or JPEG");
    }
    return of(image);
  }

  /** The colours of an image of the JDK's, without its transparency. */
  public static Picture of(BufferedImage image) {
    int width = image.getWidth();
    int height = image.getHeight();
    float[] values = new float[width * height * CHANNELS];
    for (int i = 0; i < width * height; i++) {
      int rgb = image.getRGB(i % width, i / width);
      for (int c = 0; c < CHANNELS; c++) {
        values[i * CHANNELS + c] = (rgb >> 16 - 8 * c & 0xff) / 255f;
      }
    }
    return new Picture(width, height, values);
  }

  public int width() {
    return width;
  }

  public int height() {
    return height;
  }

  public int pixels() {
    return width * height;
  }

  public float value(int pixel, int channel) {
    return values[pixel * CHANNELS + channel];
  }

  /** The mean of the three channels, {@code [height][width]}. */
  public float[] luminance() {
    float[] mean = new float[pixels()];
    for (int i = 0; i < mean.length; i++) {
      mean[i] = (value(i, 0) + value(i, 1) + value(i, 2)) / CHANNELS;
    }
    return mean;
  }

  /**
   * The largest centred square, reduced to {@code size} x {@code size} pixels by averaging areas.
   */
  public Picture centreSquare(int size) {
    int side = Math.min(width, height);
    if (size < 1 || size > side) {
      throw new IllegalArgumentException(
          String.format(
              "size is %d; this %dx%d picture allows 1 to %d", size, width, height, side));
    }
    Picture columns = reduceRows((width - side) / 2, side, size).transpose();
    return columns.reduceRows((height - side) / 2, side, size).transpose();
  }

  /** Averages {@code span} columns from {@code first} on down to {@code size} columns. */
  private Picture reduceRows(int first, int span, int size) {
    float[] reduced = new float[size * height * CHANNELS];
    double step = (double) span / size;
    for (int x = 0; x < size; x++) {
      double from = x * step;
      double to = Math.min(span, (x + 1) * step);
      for (int s = (int) from; s < to; s++) {
        double share = (Math.min(to, s + 1) - Math.max(from, s)) / step;
        for (int y = 0; y < height; y++) {
          for (int c = 0; c < CHANNELS; c++) {
            int at = (y * size + x) * CHANNELS + c;
            reduced[at] = (float) (reduced[at] + share * value(y * width + first + s, c));
          }
        }
      }
    }
    return new Picture(size, height, reduced);
  }

  private Picture transpose() {
    float[] turned = new float[values.length];
    for (int y = 0; y < height; y++) {
      for (int x = 0; x < width; x++) {
        System.arraycopy(
            values, (y * width + x) * CHANNELS, turned, (x * height + y) * CHANNELS, CHANNELS);
      }
    }
    return new Picture(height, width, turned);
  }

  /** Adds independent Gaussian noise of standard deviation {@code sigma} to every channel. */
  public Picture withNoise(double sigma, long seed) {
    Random random = new Random(seed);
    float[] noisy = new float[values.length];
    for (int i = 0; i < noisy.length; i++) {
      noisy[i] = (float) (values[i] + sigma * random.nextGaussian());
    }
    return new Picture(width, height, noisy);
  }

  /**
   * Peak signal-to-noise ratio against {@code clean} in dB, of the values as they are shown (0 to
   * 1).
   */
  public double psnr(Picture clean) {
    requireSameSize(clean);
    double sum = 0;
    for (int i = 0; i < values.length; i++) {
      double d = shown(values[i]) - shown(clean.values[i]);
      sum += d * d;
    }
    return -10 * Math.log10(sum / values.length);
  }

  /**
   * The mean distance from {@code exact}, divided by the mean of {@code exact}, of the values as
   * they are.
   */
  public double relativeL1(Picture exact) {
    requireSameSize(exact);
    double distance = 0;
    double size = 0;
    for (int i = 0; i < values.length; i++) {
      distance += Math.abs(values[i] - exact.values[i]);
      size += Math.abs(exact.values[i]);
    }
    return distance / size;
  }

  /** Writes it as {@link #png()}. */
  public void writePng(Path file) throws IOException {
    Files.write(file, png());
  }

  /** A PNG file's bytes, with a palette if it has few colours, which makes it much smaller. */
  public byte[] png() {
    int[] rgb = new int[pixels()];
    for (int i = 0; i < values.length; i++) {
      int pixel = i / CHANNELS;
      rgb[pixel] = rgb[pixel] << 8 | (int) Math.round(255 * shown(values[i]));
    }
    int[] colours = Arrays.stream(rgb).distinct().limit(MOST_OF_A_PALETTE + 1).toArray();
    BufferedImage image =
        colours.length > MOST_OF_A_PALETTE
            ? new BufferedImage(width, height, BufferedImage.TYPE_INT_RGB)
            : new BufferedImage(width, height, BufferedImage.TYPE_BYTE_INDEXED, palette(colours));
    image.setRGB(0, 0, width, height, rgb, 0, width);
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (ImageOutputStream out = new MemoryCacheImageOutputStream(bytes)) {
      if (!ImageIO.write(image, "png", out)) {
        throw new IllegalStateException("this JDK has no PNG writer");
      }
    } catch (IOException e) {
      throw new UncheckedIOException("a stream in memory takes everything", e);
    }
    return bytes.toByteArray();
  }

  private static IndexColorModel palette(int[] colours) {
    return new IndexColorModel(
        Byte.SIZE, colours.length, colours, 0, false, -1, DataBuffer.TYPE_BYTE);
  }

  private static double shown(float value) {
    return Math.max(0, Math.min(1, value));
  }

  private void requireSameSize(Picture other) {
    if (width != other.width || height != other.height) {
      throw new IllegalArgumentException(
          String.format(
              "the other picture is %dx%d; this one is %dx%d",
              other.width, other.height, width, height));
    }
  }
}
