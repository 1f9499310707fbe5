package org.attn4j.cli.plots;

import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.ToDoubleFunction;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/** One file of bench/results. */
final class Results {
  private final String name;
  private final JsonObject file;

  private Results(String name, JsonObject file) {
    this.name = name;
    this.file = file;
  }

  static Results read(Path folder, String name) throws IOException {
    String json = Files.readString(folder.resolve(name + ".json"));
    return new Results(name, JsonParser.parseString(json).getAsJsonObject());
  }

  /** Where and when it was measured, and where the numbers are. */
  String source() {
    String commit = file.has("commit") ? ", commit " + text(file, "commit").split("[; ]")[0] : "";
    return "%s, %s%s (bench/results/%s.json)".formatted(device(), text(file, "date"), commit, name);
  }

  /** The same of parts of the file, which have dates and commits of their own. */
  String source(String... parts) {
    String each =
        Stream.of(parts)
            .map(file::getAsJsonObject)
            .map(part -> text(part, "date") + ", commit " + text(part, "commit"))
            .collect(Collectors.joining(" and "));
    return "%s, %s (bench/results/%s.json)".formatted(device(), each, name);
  }

  /** The first of the machine's GPUs: nvidia-smi has a line for each. */
  private String device() {
    return text(file, "device").lines().findFirst().orElseThrow();
  }

  List<JsonObject> rows() {
    return list(file.getAsJsonArray("rows"));
  }

  /** The rows of a part, which is a list or has one. */
  List<JsonObject> rows(String part) {
    JsonElement element = file.get(part);
    return list(
        element.isJsonArray()
            ? element.getAsJsonArray()
            : element.getAsJsonObject().getAsJsonArray("rows"));
  }

  private static List<JsonObject> list(JsonArray array) {
    List<JsonObject> rows = new ArrayList<>();
    array.forEach(row -> rows.add(row.getAsJsonObject()));
    return rows;
  }

  static String text(JsonObject row, String key) {
    return row.get(key).getAsString();
  }

  /** The only row whose entries are those, if there is one. */
  static Optional<JsonObject> find(List<JsonObject> rows, Map<String, Object> entries) {
    List<JsonObject> found = all(rows, entries);
    if (found.size() > 1) {
      throw new IllegalStateException(found.size() + " rows have " + entries);
    }
    return found.stream().findFirst();
  }

  static List<JsonObject> all(List<JsonObject> rows, Map<String, Object> entries) {
    return rows.stream().filter(row -> matches(row, entries)).toList();
  }

  private static boolean matches(JsonObject row, Map<String, Object> entries) {
    return entries.entrySet().stream()
        .allMatch(
            entry -> {
              JsonElement value = row.get(entry.getKey());
              if (value == null || value.isJsonNull()) {
                return false;
              }
              return entry.getValue() instanceof Number number
                  ? value.getAsDouble() == number.doubleValue()
                  : value.getAsString().equals(entry.getValue());
            });
  }

  /** A number of the only row with those entries; null if there is no such row. */
  static Double number(List<JsonObject> rows, Map<String, Object> entries, String key) {
    return find(rows, entries).map(row -> row.get(key).getAsDouble()).orElse(null);
  }

  static List<JsonObject> sorted(List<JsonObject> rows, ToDoubleFunction<JsonObject> by) {
    return rows.stream().sorted(Comparator.comparingDouble(by)).toList();
  }
}
