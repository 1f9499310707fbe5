package org.attn4j.server.diffusion;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.LongStream;
import org.attn4j.Float16Bits;

/**
 * The weights that samples/model/fixture.py makes by a formula, as the files that training writes.
 */
public final class Formula {
  private static final int WORDS = 4;
  private static final int INPUTS = 29;

  private long state = 1;
  private final List<String> entries = new ArrayList<>();
  private final ByteArrayOutputStream data = new ByteArrayOutputStream();

  private Formula() {}

  /** Numbers between -1 and 1, as fixture.py's {@code numbers}. */
  static float[] numbers(int count, long state) {
    float[] values = new float[count];
    long next = state;
    for (int i = 0; i < count; i++) {
      next = (next * 1664525 + 1013904223) % (1L << 32);
      values[i] = (float) ((next >> 8) / (double) (1 << 23) - 1);
    }
    return values;
  }

  private void add(String name, long... shape) {
    int count = (int) Arrays.stream(shape).reduce(1, (a, b) -> a * b);
    double scale = shape.length > 1 ? Math.sqrt(3.0 / shape[shape.length - 1]) : 0.5;
    ByteBuffer bytes = ByteBuffer.allocate(2 * count).order(ByteOrder.LITTLE_ENDIAN);
    for (int i = 0; i < count; i++) {
      state = (state * 1664525 + 1013904223) % (1L << 32);
      double value = (state >> 8) / (double) (1 << 23) - 1;
      bytes.putShort(Float16Bits.fromFloat((float) (value * scale)));
    }
    String sizes = LongStream.of(shape).mapToObj(Long::toString).collect(Collectors.joining(","));
    int at = data.size();
    data.writeBytes(bytes.array());
    entries.add(
        "\"%s\":{\"dtype\":\"F16\",\"shape\":[%s],\"data_offsets\":[%d,%d]}"
            .formatted(name, sizes, at, data.size()));
  }

  private void linear(String name, int in, int out, boolean bias) {
    add(name + ".weight", out, in);
    if (bias) {
      add(name + ".bias", out);
    }
  }

  /** The file of a model of these sizes; its tensors come in PyTorch's order. */
  static byte[] weights(int dim, int hidden, int depth) {
    Formula file = new Formula();
    file.add("words.weight", WORDS, dim);
    file.linear("patch_in", INPUTS, dim, true);
    file.linear("time_in", 128, dim, true);
    file.linear("time_out", dim, dim, true);
    file.linear("mod", dim, 6 * dim, true);
    for (int i = 0; i < depth; i++) {
      String block = "blocks." + i + ".";
      file.add(block + "table", 6, dim);
      file.linear(block + "qkv", dim, 3 * dim, false);
      file.linear(block + "out", dim, dim, false);
      file.linear(block + "cross_q", dim, dim, false);
      file.linear(block + "cross_kv", dim, 2 * dim, false);
      file.linear(block + "cross_out", dim, dim, false);
      file.linear(block + "up", dim, hidden, true);
      file.add(block + "near.weight", hidden, 1, 3, 3);
      file.add(block + "near.bias", hidden);
      file.linear(block + "down", hidden, dim, true);
    }
    file.linear("last_mod", dim, 2 * dim, true);
    file.linear("patch_out", dim, 12, true);
    byte[] header = ("{" + String.join(",", file.entries) + "}").getBytes(StandardCharsets.UTF_8);
    ByteBuffer bytes =
        ByteBuffer.allocate(Long.BYTES + header.length + file.data.size())
            .order(ByteOrder.LITTLE_ENDIAN);
    return bytes.putLong(header.length).put(header).put(file.data.toByteArray()).array();
  }

  static ModelFacts facts(int dim, int hidden, int depth) {
    return new ModelFacts(
        dim, hidden, depth, List.of("", "cat", "moon", "grass"), List.of(16), 1.5, "none", 1);
  }

  static HostPainter painter(int dim, int hidden, int depth) throws IOException {
    return HostPainter.of(facts(dim, hidden, depth), Safetensors.read(weights(dim, hidden, depth)));
  }

  /** A folder with the files that the server reads; model.pt has the same weights. */
  public static Path folder() throws IOException {
    Path folder = Files.createTempDirectory("attn4j-model");
    Files.write(folder.resolve("model.safetensors"), weights(64, 16, 1));
    Files.writeString(
        folder.resolve("model.json"),
        """
        {"dim": 64, "hidden": 16, "depth": 1, "words": ["", "cat", "moon", "grass"],
         "sides": [16, 32], "guidance": 1.5, "commit": "none", "seed": 1}
        """);
    try (InputStream in = Formula.class.getResourceAsStream("small.pt")) {
      Files.write(folder.resolve("model.pt"), in.readAllBytes());
    }
    return folder;
  }

  /** What PyTorch computed. */
  static Safetensors expected() throws IOException {
    try (InputStream in = Formula.class.getResourceAsStream("expected.safetensors")) {
      return Safetensors.read(in.readAllBytes());
    }
  }
}
