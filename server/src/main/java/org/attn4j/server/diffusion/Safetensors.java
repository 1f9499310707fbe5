package org.attn4j.server.diffusion;

import com.google.gson.Gson;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import org.attn4j.Float16Bits;

/**
 * Named tensors of floats: the length of a header (8 bytes, little-endian), the header as JSON, the
 * numbers (https://huggingface.co/docs/safetensors). FP16 and FP32 are read.
 */
final class Safetensors {
  private record Entry(long[] shape, float[] values) {}

  private final Map<String, Entry> entries = new LinkedHashMap<>();

  private Safetensors() {}

  /** Reads a whole file, or throws IOException with what is wrong with it. */
  static Safetensors read(byte[] file) throws IOException {
    ByteBuffer bytes = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN);
    long length = file.length < Long.BYTES ? -1 : bytes.getLong(0);
    if (length < 2 || length > file.length - Long.BYTES) {
      throw new IOException(
          "no safetensors file: its header has " + length + " bytes, the file " + file.length);
    }
    int data = Long.BYTES + (int) length;
    Safetensors tensors = new Safetensors();
    try {
      String header = new String(file, Long.BYTES, (int) length, StandardCharsets.UTF_8);
      JsonObject names = new Gson().fromJson(header, JsonObject.class);
      for (Map.Entry<String, JsonElement> entry : names.entrySet()) {
        if (!entry.getKey().equals("__metadata__")) {
          tensors.add(entry.getKey(), entry.getValue().getAsJsonObject(), bytes, data);
        }
      }
    } catch (RuntimeException e) {
      throw new IOException("no safetensors file: its header can't be read", e);
    }
    return tensors;
  }

  private void add(String name, JsonObject entry, ByteBuffer bytes, int data) throws IOException {
    JsonArray sizes = entry.getAsJsonArray("shape");
    long[] shape = new long[sizes.size()];
    long count = 1;
    for (int i = 0; i < shape.length; i++) {
      shape[i] = sizes.get(i).getAsLong();
      count = Math.multiplyExact(count, shape[i]);
    }
    String type = entry.get("dtype").getAsString();
    if (!type.equals("F16") && !type.equals("F32")) {
      throw new IOException(name + " is of type " + type + "; F16 and F32 are read");
    }
    int size = type.equals("F16") ? Short.BYTES : Float.BYTES;
    long from = entry.getAsJsonArray("data_offsets").get(0).getAsLong();
    long to = entry.getAsJsonArray("data_offsets").get(1).getAsLong();
    if (from < 0 || to - from != count * size || to > bytes.capacity() - data) {
      throw new IOException(
          name + " doesn't lie where the header says, bytes " + from + " to " + to);
    }
    float[] values = new float[(int) count];
    for (int i = 0; i < values.length; i++) {
      int at = data + (int) from + i * size;
      values[i] =
          size == Float.BYTES ? bytes.getFloat(at) : Float16Bits.toFloat(bytes.getShort(at));
    }
    entries.put(name, new Entry(shape, values));
  }

  Set<String> names() {
    return entries.keySet();
  }

  /**
   * The numbers of a tensor of this shape, row-major; throws IllegalArgumentException if it isn't.
   */
  float[] get(String name, long... shape) {
    Entry entry = entries.get(name);
    if (entry == null || !Arrays.equals(entry.shape(), shape)) {
      throw new IllegalArgumentException(
          name
              + (entry == null ? " is missing" : " has shape " + Arrays.toString(entry.shape()))
              + "; shape "
              + Arrays.toString(shape)
              + " is needed");
    }
    return entry.values();
  }
}
