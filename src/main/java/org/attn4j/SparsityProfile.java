package org.attn4j;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/**
 * Thresholds per query head for one attention layer, as {@link SparsityTuner} finds them, with what
 * they gave. Immutable; a JSON file keeps it.
 */
public final class SparsityProfile {
  private static final String NUMBERS = "\\[[^\\[\\]]*]";
  private static final Pattern ENTRY = Pattern.compile("\"(\\w+)\"\\s*:\\s*(" + NUMBERS + ")");
  private static final Pattern OBJECT =
      Pattern.compile("\\s*\\{\\s*(" + ENTRY + "\\s*(,\\s*(?=\")|(?=})))*}\\s*");

  private final float[] simthreshd1;
  private final float[] cdfthreshd;
  private final float[] pvthreshd;
  private final float[] l1;
  private final float[] sparsity;

  SparsityProfile(Map<String, float[]> columns) {
    simthreshd1 = column(columns, "simthreshd1");
    cdfthreshd = column(columns, "cdfthreshd");
    pvthreshd = column(columns, "pvthreshd");
    l1 = column(columns, "l1");
    sparsity = column(columns, "sparsity");
    for (Map.Entry<String, float[]> column : columns.entrySet()) {
      if (!toColumns().containsKey(column.getKey())) {
        throw invalid("has an unknown entry '" + column.getKey() + "'");
      }
      if (column.getValue().length != simthreshd1.length) {
        throw invalid(
            "has "
                + column.getValue().length
                + " values of "
                + column.getKey()
                + " and "
                + simthreshd1.length
                + " of simthreshd1; one per head is needed");
      }
    }
    for (int i = 0; i < heads(); i++) { // each head's values are those of valid options
      SparsityOptions.DEFAULTS
          .withSimthreshd1(simthreshd1[i])
          .withCdfthreshd(cdfthreshd[i])
          .withPvthreshd(pvthreshd[i]);
    }
  }

  private static float[] column(Map<String, float[]> columns, String name) {
    float[] values = columns.get(name);
    if (values == null) {
      throw invalid("has no entry '" + name + "'");
    }
    return values.clone();
  }

  /** The number of query heads. */
  public int heads() {
    return simthreshd1.length;
  }

  /** simthreshd1 of each head: a copy. */
  public float[] simthreshd1() {
    return simthreshd1.clone();
  }

  /** cdfthreshd of each head: a copy. */
  public float[] cdfthreshd() {
    return cdfthreshd.clone();
  }

  /** pvthreshd of each head: a copy. */
  public float[] pvthreshd() {
    return pvthreshd.clone();
  }

  /** The relative L1 error of each head on the data that it was tuned on: a copy. */
  public float[] l1() {
    return l1.clone();
  }

  /** The share of blocks that each head left out on that data: a copy. */
  public float[] sparsity() {
    return sparsity.clone();
  }

  /** The thresholds on a device, for {@link AttentionRequest.Builder#sparsityTensors}. */
  public Tensors toDevice(int device) {
    return new Tensors(device, this);
  }

  /** Threshold tensors on a device. Closing frees them. */
  public static final class Tensors implements AutoCloseable {
    private final DeviceTensor simthreshd1;
    private final DeviceTensor cdfthreshd;
    private final DeviceTensor pvthreshd;

    private Tensors(int device, SparsityProfile profile) {
      int heads = profile.heads();
      simthreshd1 = DeviceTensor.of(device, DType.FLOAT32, profile.simthreshd1, heads);
      cdfthreshd = DeviceTensor.of(device, DType.FLOAT32, profile.cdfthreshd, heads);
      pvthreshd = DeviceTensor.of(device, DType.FLOAT32, profile.pvthreshd, heads);
    }

    /** A builder that holds the thresholds; masks and reports may be added. */
    public SparsityTensors.Builder tensors() {
      return SparsityTensors.builder()
          .simthreshd1(simthreshd1)
          .cdfthreshd(cdfthreshd)
          .pvthreshd(pvthreshd);
    }

    @Override
    public void close() {
      simthreshd1.close();
      cdfthreshd.close();
      pvthreshd.close();
    }
  }

  private Map<String, float[]> toColumns() {
    Map<String, float[]> columns = new LinkedHashMap<>();
    columns.put("simthreshd1", simthreshd1);
    columns.put("cdfthreshd", cdfthreshd);
    columns.put("pvthreshd", pvthreshd);
    columns.put("l1", l1);
    columns.put("sparsity", sparsity);
    return columns;
  }

  /** One JSON object: an array of numbers, one per head, for each of the five properties. */
  public String toJson() {
    return toColumns().entrySet().stream()
        .map(column -> "  \"" + column.getKey() + "\": " + Arrays.toString(column.getValue()))
        .collect(Collectors.joining(",\n", "{\n", "\n}\n"));
  }

  /**
   * Reads what {@link #toJson} wrote.
   *
   * @throws InvalidAttentionArgumentException if it is anything else
   */
  public static SparsityProfile fromJson(String json) {
    if (json == null || !OBJECT.matcher(json).matches()) {
      throw invalid("is no JSON object of arrays of numbers");
    }
    Map<String, float[]> columns = new LinkedHashMap<>();
    Matcher entry = ENTRY.matcher(json);
    while (entry.find()) {
      if (columns.put(entry.group(1), numbers(entry.group(2))) != null) {
        throw invalid("has two entries '" + entry.group(1) + "'");
      }
    }
    return new SparsityProfile(columns);
  }

  private static float[] numbers(String array) {
    String inner = array.substring(1, array.length() - 1).trim();
    String[] texts = inner.isEmpty() ? new String[0] : inner.split(",", -1);
    float[] values = new float[texts.length];
    try {
      IntStream.range(0, texts.length).forEach(i -> values[i] = Float.parseFloat(texts[i].trim()));
    } catch (NumberFormatException e) {
      throw invalid("has " + array + ", which is no array of numbers");
    }
    return values;
  }

  /** Writes {@link #toJson} to a file. */
  public void save(Path file) throws IOException {
    Files.writeString(file, toJson());
  }

  /** Reads a file that {@link #save} wrote. */
  public static SparsityProfile load(Path file) throws IOException {
    return fromJson(Files.readString(file));
  }

  private static InvalidAttentionArgumentException invalid(String what) {
    return new InvalidAttentionArgumentException("the sparsity profile " + what);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof SparsityProfile that && toJson().equals(that.toJson());
  }

  @Override
  public int hashCode() {
    return toJson().hashCode();
  }

  @Override
  public String toString() {
    return toJson();
  }
}
