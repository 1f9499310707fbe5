package org.attn4j.server;

import com.google.gson.Gson;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.attn4j.SparsityOptions;
import org.attn4j.server.diffusion.Model;
import org.attn4j.server.diffusion.Sampler;

/**
 * What {@code POST /api/generate} asks for.
 *
 * @param prompt the words, for the answer
 * @param words their tokens
 * @param side pixels on a side
 * @param images how many pictures; each has the next seed
 * @param steps of the sampler
 * @param seed of the noise
 * @param sampler how steps are made
 * @param guidance how much the words are exaggerated; 1 is not
 * @param backend {@code auto}, {@code cpu}, {@code gpu} or {@code pytorch}
 * @param sparsity what may be left out, or null for dense attention
 */
record GenerateRequest(
    String prompt,
    int[] words,
    int side,
    int images,
    int steps,
    long seed,
    Sampler sampler,
    double guidance,
    String backend,
    SparsityOptions sparsity) {
  private static final int MOST_IMAGES = 4;
  private static final int MOST_STEPS = 200;
  private static final int SIDE_UNIT = 16; // the tokens fill SpargeAttn's blocks
  private static final List<String> KNOWN =
      List.of(
          "prompt",
          "width",
          "height",
          "num_images",
          "steps",
          "seed",
          "sampler",
          "guidance",
          "backend",
          "sparsity");
  private static final List<String> THRESHOLDS = List.of("simthreshd1", "cdfthreshd");

  /** Reads the body, or throws a {@link Problem}. */
  static GenerateRequest of(byte[] body, Model model, int maxSide) {
    JsonObject json = json(body);
    SparsityOptions sparsity = sparsity(json.remove("sparsity"));
    Parameters parameters = Parameters.of(values(json, ""), KNOWN);
    int usual = Math.min(maxSide, model.facts().sides().get(0));
    int width = parameters.integer("width", usual, SIDE_UNIT, maxSide);
    int height = parameters.integer("height", width, SIDE_UNIT, maxSide);
    if (width != height || width % SIDE_UNIT != 0) {
      throw Problem.badRequest(
          "width and height are " + width + " and " + height + "; one multiple of 16 is accepted");
    }
    String backend = parameters.word("backend", "auto", List.of("auto", "cpu", "gpu", "pytorch"));
    if (backend.equals("pytorch") && sparsity != null) {
      throw Problem.badRequest("sparsity is on; with backend pytorch it can only be false");
    }
    String prompt = parameters.text("prompt", "");
    int[] words;
    try {
      words = model.words(prompt);
    } catch (IllegalArgumentException e) {
      throw Problem.badRequest(e.getMessage());
    }
    return new GenerateRequest(
        prompt,
        words,
        width,
        parameters.integer("num_images", 1, 1, MOST_IMAGES),
        parameters.integer("steps", 20, 1, MOST_STEPS),
        parameters.whole("seed", 1, Long.MIN_VALUE, Long.MAX_VALUE),
        parameters.word("sampler", "ddim", List.of("ddim", "euler")).equals("ddim")
            ? Sampler.DDIM
            : Sampler.EULER,
        parameters.number("guidance", model.facts().guidance(), 0, 10),
        backend,
        sparsity);
  }

  private static JsonObject json(byte[] body) {
    try {
      JsonObject json =
          new Gson().fromJson(new String(body, StandardCharsets.UTF_8), JsonObject.class);
      if (json != null) {
        return json;
      }
    } catch (JsonParseException e) {
      // the sentence below says it
    }
    throw Problem.badRequest("the body is no JSON object; {\"prompt\": \"cat\"} is one");
  }

  /** Thresholds as an object, true for SpargeAttn's own, false or nothing for dense attention. */
  private static SparsityOptions sparsity(JsonElement json) {
    if (json == null || json.isJsonNull()) {
      return null;
    }
    if (json.isJsonPrimitive() && json.getAsJsonPrimitive().isBoolean()) {
      return json.getAsBoolean() ? SparsityOptions.DEFAULTS : null;
    }
    if (!json.isJsonObject()) {
      throw Parameters.refused(
          "sparsity",
          json.toString(),
          "true, false and an object with simthreshd1 and cdfthreshd are accepted");
    }
    Parameters thresholds = Parameters.of(values(json.getAsJsonObject(), "sparsity."), THRESHOLDS);
    return DenoiseRequest.sparsity(thresholds);
  }

  private static Map<String, String> values(JsonObject json, String prefix) {
    Map<String, String> values = new HashMap<>();
    for (Map.Entry<String, JsonElement> entry : json.entrySet()) {
      if (!entry.getValue().isJsonPrimitive()) {
        throw Parameters.refused(
            prefix + Parameters.shown(entry.getKey()),
            entry.getValue().toString(),
            "a string or a number is accepted");
      }
      values.put(entry.getKey(), entry.getValue().getAsString());
    }
    return values;
  }
}
