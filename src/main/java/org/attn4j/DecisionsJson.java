package org.attn4j;

import static org.attn4j.SparsityProfile.invalid;

import com.google.gson.FormattingStyle;
import com.google.gson.stream.JsonReader;
import com.google.gson.stream.JsonToken;
import com.google.gson.stream.JsonWriter;
import java.io.IOException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.attn4j.SparsityDecisions.Key;
import org.attn4j.SparsityDecisions.Site;
import org.attn4j.SparsityDecisions.State;

/**
 * The entry {@code decisions} of a profile file: one object per call site, on a line.
 *
 * <pre>{@code
 * {"site": "a91b...", "shape": [batch, queries, keys, headsQ, headsKv, headDim],
 *  "numbers": [dtype, function, causal, flags], "thresholds": [scale, simthreshd1, cdfthreshd, topk, pvthreshd],
 *  "state": "SPARSE", "share": 0.43, "needed": 0.15, "denseHeads": [3, 7]}
 * }</pre>
 */
final class DecisionsJson {
  private static final int SHAPE = 6;
  private static final int HEX = 16;

  private DecisionsJson() {}

  static void write(JsonWriter json, SparsityDecisions decisions, FormattingStyle row)
      throws IOException {
    FormattingStyle lines = json.getFormattingStyle();
    json.beginArray();
    for (Site site : decisions.sites()) {
      json.beginObject();
      json.setFormattingStyle(row);
      Key key = site.key();
      json.name("site").value(Long.toHexString(key.caller()));
      json.name("shape").beginArray().value(key.batch()).value(key.queries()).value(key.keys());
      json.value(key.headsQ()).value(key.headsKv()).value(key.headDim()).endArray();
      writeNumbers(json.name("numbers"), key.numbers());
      writeNumbers(json.name("thresholds"), key.thresholds());
      json.name("state").value(site.state().name());
      json.name("share").value(site.share());
      json.name("needed").value(site.needed());
      writeNumbers(json.name("denseHeads"), site.denseHeads());
      json.endObject();
      json.setFormattingStyle(lines);
    }
    json.endArray();
  }

  /** An infinite pvthreshd is a null, as JSON has no infinity. */
  private static void writeNumbers(JsonWriter json, List<? extends Number> numbers)
      throws IOException {
    json.beginArray();
    for (Number number : numbers) {
      if (Double.isFinite(number.doubleValue())) {
        json.value(number);
      } else {
        json.nullValue();
      }
    }
    json.endArray();
  }

  static SparsityDecisions read(JsonReader json) throws IOException {
    expect(json, JsonToken.BEGIN_ARRAY, "an array of sites");
    List<Site> sites = new ArrayList<>();
    json.beginArray();
    while (json.hasNext()) {
      sites.add(readSite(json));
    }
    json.endArray();
    return SparsityDecisions.of(sites);
  }

  private static Site readSite(JsonReader json) throws IOException {
    expect(json, JsonToken.BEGIN_OBJECT, "an object");
    Map<String, List<Double>> rows = new HashMap<>();
    Map<String, String> words = new HashMap<>();
    json.beginObject();
    while (json.hasNext()) {
      String name = json.nextName();
      switch (name) {
        case "shape", "numbers", "thresholds", "denseHeads" -> rows.put(name, readNumbers(json));
        case "share", "needed" -> {
          expect(json, JsonToken.NUMBER, "a number");
          rows.put(name, List.of(json.nextDouble()));
        }
        case "site", "state" -> {
          expect(json, JsonToken.STRING, "a string");
          words.put(name, json.nextString());
        }
        default -> json.skipValue();
      }
    }
    json.endObject();
    return site(rows, words);
  }

  private static Site site(Map<String, List<Double>> rows, Map<String, String> words) {
    for (String name : List.of("shape", "numbers", "thresholds", "share", "needed", "denseHeads")) {
      if (!rows.containsKey(name)) {
        throw invalid("has a decision without '" + name + "'");
      }
    }
    List<Double> shape = rows.get("shape");
    if (shape.size() != SHAPE) {
      throw invalid("has a decision of " + shape.size() + " sizes; 6 are needed");
    }
    return new Site(
        new Key(
            caller(words.get("site")),
            shape.get(0).longValue(),
            shape.get(1).longValue(),
            shape.get(2).longValue(),
            shape.get(3).intValue(),
            shape.get(4).intValue(),
            shape.get(5).intValue(),
            rows.get("numbers").stream().map(Double::intValue).toList(),
            rows.get("thresholds").stream().map(Double::floatValue).toList()),
        state(words.get("state")),
        rows.get("share").get(0).floatValue(),
        rows.get("needed").get(0).floatValue(),
        rows.get("denseHeads").stream().map(Double::intValue).toList(),
        0,
        0);
  }

  private static long caller(String hex) {
    try {
      return Long.parseUnsignedLong(hex == null ? "" : hex, HEX);
    } catch (NumberFormatException e) {
      throw invalid("has a decision for the site '" + hex + "'; a hexadecimal number is needed");
    }
  }

  private static State state(String name) {
    for (State state : State.values()) {
      if (state.name().equals(name)) {
        return state;
      }
    }
    throw invalid("has a decision '" + name + "'; UNKNOWN, SPARSE or DENSE is needed");
  }

  private static List<Double> readNumbers(JsonReader json) throws IOException {
    expect(json, JsonToken.BEGIN_ARRAY, "an array of numbers");
    List<Double> numbers = new ArrayList<>();
    json.beginArray();
    while (json.hasNext()) {
      if (json.peek() == JsonToken.NULL) {
        json.nextNull();
        numbers.add(Double.POSITIVE_INFINITY);
      } else {
        expect(json, JsonToken.NUMBER, "a number");
        numbers.add(json.nextDouble());
      }
    }
    json.endArray();
    return numbers;
  }

  private static void expect(JsonReader json, JsonToken wanted, String what) throws IOException {
    ProfileJson.expect(json, wanted, what);
  }
}
