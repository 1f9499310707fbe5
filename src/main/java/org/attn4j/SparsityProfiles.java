package org.attn4j;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Objects;

/**
 * The sparsity profiles of a model: one {@link SparsityProfile} per attention layer, by the layer's
 * name, in the order in which they were given. Immutable; one JSON file keeps it.
 */
public final class SparsityProfiles {
  private final String model;
  private final Map<String, SparsityProfile> layers;

  private final SparsityDecisions decisions;

  private SparsityProfiles(
      String model, Map<String, SparsityProfile> layers, SparsityDecisions decisions) {
    this.model = model;
    this.decisions = decisions;
    this.layers = Collections.unmodifiableMap(new LinkedHashMap<>(layers));
  }

  /**
   * {@return the profiles of a model}
   *
   * @param model the model's name: any text, kept in the file
   * @param layers the profile of each layer by the layer's name, in the order of the file
   * @throws InvalidAttentionArgumentException if one of them is null
   */
  public static SparsityProfiles of(String model, Map<String, SparsityProfile> layers) {
    if (model == null || layers == null) {
      throw new InvalidAttentionArgumentException(
          (model == null ? "model" : "layers") + " is null; a value is needed");
    }
    for (Map.Entry<String, SparsityProfile> layer : layers.entrySet()) {
      if (layer.getKey() == null || layer.getValue() == null) {
        throw new InvalidAttentionArgumentException(
            "layers holds " + layer.getKey() + " = " + layer.getValue() + "; null is not accepted");
      }
    }
    return new SparsityProfiles(model, layers, SparsityDecisions.NONE);
  }

  /**
   * {@return these profiles with what was learnt about the model's call sites}
   *
   * @param value the decisions, {@link SparsityDecisions#ofThisProcess} for instance
   * @throws InvalidAttentionArgumentException if they are null
   */
  public SparsityProfiles withDecisions(SparsityDecisions value) {
    if (value == null) {
      throw new InvalidAttentionArgumentException("decisions is null; a value is needed");
    }
    return new SparsityProfiles(model, layers, value);
  }

  /** {@return what was learnt about the model's call sites; none if the file has none} */
  public SparsityDecisions decisions() {
    return decisions;
  }

  /** {@return the model's name; empty if the file names none} */
  public String model() {
    return model;
  }

  /** {@return the profiles by layer, in the order of the file: not modifiable} */
  public Map<String, SparsityProfile> layers() {
    return layers;
  }

  /**
   * {@return the profile of one layer}
   *
   * @param name of the layer
   * @throws InvalidAttentionArgumentException if there is no layer of that name
   */
  public SparsityProfile layer(String name) {
    SparsityProfile layer = layers.get(name);
    if (layer == null) {
      throw new InvalidAttentionArgumentException(
          "the model '" + model + "' has no layer '" + name + "'; it has " + layers.keySet());
    }
    return layer;
  }

  /**
   * {@return one JSON object: the version of the format, the model's name, and an object per layer}
   */
  public String toJson() {
    return ProfileJson.write(this);
  }

  /**
   * Reads what {@link #toJson} wrote; entries that it doesn't know are passed over.
   *
   * @param json the text
   * @return the profiles
   * @throws InvalidAttentionArgumentException if it is anything else
   */
  public static SparsityProfiles fromJson(String json) {
    return ProfileJson.readModel(json);
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
   * @return the profiles
   * @throws IOException if the file can't be read or written
   */
  public static SparsityProfiles load(Path file) throws IOException {
    return fromJson(Files.readString(file));
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof SparsityProfiles that
        && model.equals(that.model)
        && layers.equals(that.layers)
        && decisions.equals(that.decisions);
  }

  @Override
  public int hashCode() {
    return Objects.hash(model, layers, decisions);
  }

  @Override
  public String toString() {
    return toJson();
  }
}
