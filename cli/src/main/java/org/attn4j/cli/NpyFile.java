package org.attn4j.cli;

import java.io.DataInputStream;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.attn4j.DType;
import org.attn4j.Float16Bits;

/**
 * A NumPy array of rank 4 in float16 or float32, as {@code numpy.save} writes it.
 *
 * @param sizes the four sizes
 * @param values in row-major order
 */
record NpyFile(long[] sizes, float[] values) {
  private static final byte[] MAGIC = {(byte) 0x93, 'N', 'U', 'M', 'P', 'Y'};
  private static final Pattern HEADER =
      Pattern.compile(
          "\\{'descr': '([^']*)', 'fortran_order': (True|False), 'shape': \\(([^)]*)\\),? *\\}\\s*");

  static NpyFile read(Path file) throws IOException {
    try (DataInputStream in = new DataInputStream(Files.newInputStream(file))) {
      byte[] start = in.readNBytes(8);
      if (start.length < 8 || !Arrays.equals(Arrays.copyOf(start, 6), MAGIC)) {
        throw new IOException(file + " is no .npy file; what numpy.save writes is accepted");
      }
      ByteBuffer length =
          ByteBuffer.wrap(in.readNBytes(start[6] == 1 ? 2 : 4)).order(ByteOrder.LITTLE_ENDIAN);
      int count = start[6] == 1 ? length.getShort() & 0xFFFF : length.getInt();
      String text = new String(in.readNBytes(count), StandardCharsets.ISO_8859_1);
      Matcher header = HEADER.matcher(text);
      if (!header.matches()) {
        throw new IOException(file + " has the header " + text.strip() + ", which isn't known");
      }
      long[] sizes = sizes(file, header.group(3));
      return new NpyFile(sizes, values(file, header, sizes, in));
    }
  }

  private static long[] sizes(Path file, String text) throws IOException {
    long[] sizes =
        Arrays.stream(text.split(","))
            .map(String::strip)
            .filter(size -> !size.isEmpty())
            .mapToLong(Long::parseLong)
            .toArray();
    if (sizes.length != 4) {
      throw new IOException(
          "%s has the shape (%s); four sizes are accepted: batch, heads, tokens, channels"
              .formatted(file, text));
    }
    return sizes;
  }

  private static float[] values(Path file, Matcher header, long[] sizes, DataInputStream in)
      throws IOException {
    String type = header.group(1);
    if (!(type.equals("<f2") || type.equals("<f4")) || header.group(2).equals("True")) {
      throw new IOException(
          "%s holds %s%s; float16 and float32 in C order are accepted"
              .formatted(file, type, header.group(2).equals("True") ? " in Fortran order" : ""));
    }
    DType dtype = type.equals("<f2") ? DType.FLOAT16 : DType.FLOAT32;
    int elements;
    byte[] bytes;
    try {
      elements = Math.toIntExact(Arrays.stream(sizes).reduce(1, Math::multiplyExact));
      bytes = in.readNBytes(Math.multiplyExact(elements, dtype.byteSize()));
    } catch (ArithmeticException e) {
      throw new IOException(file + " is too large: 2 GB are accepted", e);
    }
    if (bytes.length < elements * dtype.byteSize()) {
      throw new IOException(
          "%s is cut off: it has %d bytes of %d"
              .formatted(file, bytes.length, (long) elements * dtype.byteSize()));
    }
    return floats(dtype, ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN), elements);
  }

  private static float[] floats(DType dtype, ByteBuffer bytes, int count) {
    float[] values = new float[count];
    if (dtype == DType.FLOAT32) {
      bytes.asFloatBuffer().get(values);
      return values;
    }
    for (int i = 0; i < count; i++) {
      values[i] = Float16Bits.toFloat(bytes.getShort());
    }
    return values;
  }
}
