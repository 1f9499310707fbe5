package org.attn4j;

import static org.attn4j.SparsityProfile.invalid;

import com.google.gson.FormattingStyle;
import com.google.gson.Strictness;
import com.google.gson.stream.JsonReader;
import com.google.gson.stream.JsonToken;
import com.google.gson.stream.JsonWriter;
import com.google.gson.stream.MalformedJsonException;
import java.io.EOFException;
import java.io.IOException;
import java.io.StringReader;
import java.io.StringWriter;
import java.util.Arrays;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.Set;

/**
 * Sparsity profiles as JSON. A file holds one layer, or a model's name and its layers by name:
 *
 * <pre>{@code
 * {"version": 1, "simthreshd1": [0.6, 0.4], "cdfthreshd": [0.97, 0.95], ...}
 * {"version": 1, "model": "a name", "layers": {"blocks.0": {"simthreshd1": [0.6, 0.4], ...}, ...},
 *  "decisions": [...]}
 * }</pre>
 *
 * <p>The first files had one layer and no version. Entries that are not known are passed over, so
 * that programs can add their own.
 */
final class ProfileJson {
  static final int VERSION = 1;

  // A row of numbers per line: a layer can be read, and a diff shows which one changed.
  private static final FormattingStyle LINES = FormattingStyle.PRETTY;
  private static final FormattingStyle ROW = FormattingStyle.COMPACT.withSpaceAfterSeparators(true);

  private ProfileJson() {}

  static String write(SparsityProfile layer) {
    return write(
        json -> {
          json.beginObject().name("version").value(VERSION);
          writeColumns(json, layer);
          json.endObject();
        });
  }

  static String write(SparsityProfiles profiles) {
    return write(
        json -> {
          json.beginObject().name("version").value(VERSION);
          json.name("model").value(profiles.model());
          json.name("layers").beginObject();
          for (Map.Entry<String, SparsityProfile> layer : profiles.layers().entrySet()) {
            json.name(layer.getKey()).beginObject();
            writeColumns(json, layer.getValue());
            json.endObject();
          }
          json.endObject();
          if (!profiles.decisions().sites().isEmpty()) {
            DecisionsJson.write(json.name("decisions"), profiles.decisions(), ROW);
          }
          json.endObject();
        });
  }

  private interface Content {
    void write(JsonWriter json) throws IOException;
  }

  private static String write(Content content) {
    StringWriter text = new StringWriter();
    try (JsonWriter json = new JsonWriter(text)) {
      json.setFormattingStyle(LINES);
      content.write(json);
    } catch (IOException e) {
      throw new AssertionError("a StringWriter takes everything", e);
    }
    return text.append('\n').toString();
  }

  private static void writeColumns(JsonWriter json, SparsityProfile layer) throws IOException {
    for (Map.Entry<String, float[]> column : layer.toColumns().entrySet()) {
      json.name(column.getKey()).beginArray(); // on a line of its own, as LINES has it
      json.setFormattingStyle(ROW);
      for (float value : column.getValue()) {
        if (Float.isFinite(value)) {
          json.value(value);
        } else {
          json.nullValue();
        }
      }
      json.endArray();
      json.setFormattingStyle(LINES);
    }
  }

  /** What an object of a file says; null is what it doesn't. */
  private static final class Entries {
    final Map<String, float[]> columns = new HashMap<>();
    String model;
    Map<String, SparsityProfile> layers;
    SparsityDecisions decisions = SparsityDecisions.NONE;
  }

  static SparsityProfile readLayer(String text) {
    Entries entries = read(text);
    if (entries.layers != null) {
      throw invalid(
          "holds a model of " + entries.layers.size() + " layers; SparsityProfiles reads it");
    }
    return new SparsityProfile(entries.columns);
  }

  static SparsityProfiles readModel(String text) {
    Entries entries = read(text);
    if (entries.layers == null) {
      throw invalid(
          entries.columns.isEmpty()
              ? "has no entry 'layers'"
              : "holds one layer and no entry 'layers'; SparsityProfile reads it");
    }
    return SparsityProfiles.of(entries.model == null ? "" : entries.model, entries.layers)
        .withDecisions(entries.decisions);
  }

  private static Entries read(String text) {
    if (text == null) {
      throw invalid("is null; JSON is needed");
    }
    try (JsonReader json = new JsonReader(new StringReader(text))) {
      json.setStrictness(Strictness.STRICT);
      Entries entries = readEntries(json, true);
      if (json.peek() != JsonToken.END_DOCUMENT) {
        throw invalid("has text behind its end at " + place(json));
      }
      return entries;
    } catch (MalformedJsonException | EOFException e) {
      throw invalid("is no valid JSON: " + e.getMessage().lines().findFirst().orElse(""));
    } catch (IOException e) {
      throw new AssertionError("a StringReader gives everything", e);
    }
  }

  /** Reads the object of a file (outermost), or that of one layer. */
  private static Entries readEntries(JsonReader json, boolean outermost) throws IOException {
    expect(json, JsonToken.BEGIN_OBJECT, "an object");
    Entries entries = new Entries();
    Set<String> names = new HashSet<>();
    json.beginObject();
    while (json.hasNext()) {
      String name = json.nextName();
      if (!names.add(name)) {
        throw invalid("has two entries '" + name + "' at " + place(json));
      }
      if (SparsityProfile.COLUMNS.contains(name)) {
        entries.columns.put(name, readNumbers(json));
      } else if (outermost && name.equals("version")) {
        readVersion(json);
      } else if (outermost && name.equals("model")) {
        expect(json, JsonToken.STRING, "a string");
        entries.model = json.nextString();
      } else if (outermost && name.equals("layers")) {
        entries.layers = readLayers(json);
      } else if (outermost && name.equals("decisions")) {
        entries.decisions = DecisionsJson.read(json);
      } else {
        json.skipValue();
      }
    }
    json.endObject();
    return entries;
  }

  private static Map<String, SparsityProfile> readLayers(JsonReader json) throws IOException {
    expect(json, JsonToken.BEGIN_OBJECT, "an object");
    Map<String, SparsityProfile> layers = new LinkedHashMap<>();
    json.beginObject();
    while (json.hasNext()) {
      String name = json.nextName();
      Map<String, float[]> columns = readEntries(json, false).columns;
      try {
        if (layers.put(name, new SparsityProfile(columns)) != null) {
          throw invalid("has two layers of that name");
        }
      } catch (InvalidAttentionArgumentException e) {
        throw new InvalidAttentionArgumentException("layer '" + name + "': " + e.getMessage());
      }
    }
    json.endObject();
    return layers;
  }

  private static void readVersion(JsonReader json) throws IOException {
    expect(json, JsonToken.NUMBER, "a number");
    String version = json.nextString();
    if (!version.equals(Integer.toString(VERSION))) {
      throw invalid("is of version " + version + "; this attn4j reads version " + VERSION);
    }
  }

  private static float[] readNumbers(JsonReader json) throws IOException {
    expect(json, JsonToken.BEGIN_ARRAY, "an array of numbers");
    float[] values = new float[32];
    int count = 0;
    json.beginArray();
    while (json.hasNext()) {
      if (count == values.length) {
        values = Arrays.copyOf(values, 2 * count);
      }
      if (json.peek() == JsonToken.NULL) {
        json.nextNull();
        values[count++] = Float.NaN;
      } else {
        expect(json, JsonToken.NUMBER, "a number");
        values[count++] = Float.parseFloat(json.nextString());
      }
    }
    json.endArray();
    return Arrays.copyOf(values, count);
  }

  static void expect(JsonReader json, JsonToken wanted, String what) throws IOException {
    JsonToken found = json.peek();
    if (found != wanted) {
      String name = found.name().toLowerCase(Locale.ROOT).replace('_', ' ');
      throw invalid("has " + name + " at " + place(json) + "; " + what + " is needed");
    }
  }

  private static String place(JsonReader json) {
    return json.getPath();
  }
}
