package org.attn4j.cli;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import picocli.CommandLine.ITypeConverter;
import picocli.CommandLine.TypeConversionException;

/**
 * The shape of one attention.
 *
 * @param name what people call it
 * @param batch entries of the batch
 * @param heads heads of the queries
 * @param headsKv heads of keys and values
 * @param queries tokens of the queries
 * @param keys tokens of keys and values
 * @param headDim channels of a head
 */
record Shape(
    String name, long batch, long heads, long headsKv, long queries, long keys, long headDim) {
  private static final Pattern FORM =
      Pattern.compile("(\\d+)x(\\d+)(?:/(\\d+))?x(\\d+)(?:/(\\d+))?x(\\d+)");

  /** Shapes of known models, by name. */
  static final Map<String, Shape> PRESETS = presets();

  static final String ACCEPTED =
      "accepted is BxHxLxD or BxHQ/HKVxLQ/LKxD with numbers from 1 up, such as 1x24x4608x128 or"
          + " 8x32/8x1/4097x128, or one of "
          + String.join(", ", PRESETS.keySet());

  private static Map<String, Shape> presets() {
    Map<String, Shape> all = new LinkedHashMap<>();
    for (Shape shape :
        new Shape[] {
          new Shape("sdxl", 2, 10, 10, 4096, 4096, 64),
          new Shape("sdxl-cross", 2, 10, 10, 4096, 77, 64),
          new Shape("sd15", 2, 8, 8, 4096, 4096, 40),
          new Shape("flux", 1, 24, 24, 4608, 4608, 128),
          new Shape("wan", 1, 12, 12, 32760, 32760, 128),
          new Shape("cogvideox", 1, 30, 30, 17776, 17776, 64),
          new Shape("gqa", 1, 32, 8, 8192, 8192, 128),
          new Shape("decode", 8, 32, 8, 1, 4097, 128),
        }) {
      all.put(shape.name(), shape);
    }
    return all;
  }

  static Shape parse(String text) {
    Shape preset = PRESETS.get(text);
    if (preset != null) {
      return preset;
    }
    Matcher form = FORM.matcher(text);
    if (!form.matches()) {
      throw new TypeConversionException("the shape is " + text + "; " + ACCEPTED);
    }
    try {
      List<Long> numbers =
          Arrays.asList(
              number(form, 1, 1),
              number(form, 2, 2),
              number(form, 3, 2),
              number(form, 4, 4),
              number(form, 5, 4),
              number(form, 6, 6));
      if (numbers.stream().anyMatch(number -> number < 1)) {
        throw new TypeConversionException("the shape is " + text + "; " + ACCEPTED);
      }
      return new Shape(
          text,
          numbers.get(0),
          numbers.get(1),
          numbers.get(2),
          numbers.get(3),
          numbers.get(4),
          numbers.get(5));
    } catch (NumberFormatException e) {
      throw new TypeConversionException("the shape is " + text + "; " + ACCEPTED);
    }
  }

  private static long number(Matcher form, int group, int otherwise) {
    return Integer.parseInt(form.group(form.group(group) == null ? otherwise : group));
  }

  long[] sizesQ() {
    return new long[] {batch, heads, queries, headDim};
  }

  long[] sizesKv() {
    return new long[] {batch, headsKv, keys, headDim};
  }

  /** Multiplications and additions of dense attention; with a causal mask of what is seen. */
  double operations(boolean causal) {
    double pairs = (double) queries * keys;
    if (causal) {
      double rows = Math.min(queries, keys); // top left: query i sees keys 0 to i
      pairs = rows * (rows + 1) / 2 + Math.max(0, queries - rows) * keys;
    }
    return 4.0 * batch * heads * pairs * headDim;
  }

  /** For example {@code 1x32/8x8192x128}. */
  String form() {
    return batch
        + "x"
        + (heads == headsKv ? "" + heads : heads + "/" + headsKv)
        + "x"
        + (queries == keys ? "" + queries : queries + "/" + keys)
        + "x"
        + headDim;
  }

  /** Reads shapes from the command line. */
  static final class Converter implements ITypeConverter<Shape> {
    @Override
    public Shape convert(String value) {
      return parse(value);
    }
  }
}
