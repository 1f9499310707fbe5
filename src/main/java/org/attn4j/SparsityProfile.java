package org.attn4j;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Thresholds per query head for one attention layer, as {@link SparsityTuner} finds them, with what
 * they gave. Immutable; a JSON file keeps it. {@link SparsityProfiles} holds those of a model.
 */
public final class SparsityProfile {
  /** The entries of the file, in its order. */
  static final List<String> COLUMNS =
      List.of("simthreshd1", "cdfthreshd", "pvthreshd", "l1", "sparsity");

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

  /** {@return the number of query heads} */
  public int heads() {
    return simthreshd1.length;
  }

  /** {@return simthreshd1 of each head: a copy} */
  public float[] simthreshd1() {
    return simthreshd1.clone();
  }

  /** {@return cdfthreshd of each head: a copy} */
  public float[] cdfthreshd() {
    return cdfthreshd.clone();
  }

  /** {@return pvthreshd of each head: a copy} */
  public float[] pvthreshd() {
    return pvthreshd.clone();
  }

  /** {@return the relative L1 error of each head on the data that it was tuned on: a copy} */
  public float[] l1() {
    return l1.clone();
  }

  /** {@return the share of blocks that each head left out on that data: a copy} */
  public float[] sparsity() {
    return sparsity.clone();
  }

  /**
   * {@return the thresholds on a device, for {@link AttentionRequest.Builder#sparsityTensors}}
   *
   * @param device CUDA's number of the device, from 0
   */
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

    /** {@return a builder that holds the thresholds; masks and reports may be added} */
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

  /** The values by the names of {@link #COLUMNS}: not copies. */
  Map<String, float[]> toColumns() {
    Map<String, float[]> columns = new LinkedHashMap<>();
    float[][] values = {simthreshd1, cdfthreshd, pvthreshd, l1, sparsity};
    for (int i = 0; i < values.length; i++) {
      columns.put(COLUMNS.get(i), values[i]);
    }
    return columns;
  }

  /**
   * {@return one JSON object: the version of the format, and an array of numbers, one per head, for
   * each of the five properties} An l1 that is NaN is written as null.
   */
  public String toJson() {
    return ProfileJson.write(this);
  }

  /**
   * Reads what {@link #toJson} wrote, with or without a version; other entries are passed over.
   *
   * @param json the text
   * @return the profile
   * @throws InvalidAttentionArgumentException if it is anything else
   */
  public static SparsityProfile fromJson(String json) {
    return ProfileJson.readLayer(json);
  }

  /**
   * Writes {@link #toJson} to a file.
   *
   * @param file the file
   * @throws IOException if the file can't be read or written
   */
  public void save(Path file) throws IOException {
    Files.writeString(file, toJson());
  }

  /**
   * Reads a file that {@link #save} wrote.
   *
   * @param file the file
   * @return the profile
   * @throws IOException if the file can't be read or written
   */
  public static SparsityProfile load(Path file) throws IOException {
    return fromJson(Files.readString(file));
  }

  static InvalidAttentionArgumentException invalid(String what) {
    return new InvalidAttentionArgumentException("the sparsity profile " + what);
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof SparsityProfile that && Arrays.deepEquals(values(this), values(that));
  }

  @Override
  public int hashCode() {
    return Arrays.deepHashCode(values(this));
  }

  private static float[][] values(SparsityProfile profile) {
    return profile.toColumns().values().toArray(float[][]::new);
  }

  @Override
  public String toString() {
    return toJson();
  }
}
