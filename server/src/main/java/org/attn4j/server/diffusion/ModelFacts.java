package org.attn4j.server.diffusion;

import com.google.gson.Gson;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import java.io.IOException;
import java.util.List;
import java.util.stream.Stream;
import java.util.stream.StreamSupport;

/**
 * What {@code model.json} says of the weights beside it; samples/model/train.py writes it.
 *
 * @param dim channels of a token, a multiple of 64
 * @param hidden channels between the two layers of a block's perceptron
 * @param depth how many blocks there are
 * @param words what the tokens 0, 1, ... mean; 0 is no word
 * @param sides the pixels on a side that it was trained on
 * @param guidance how much the words are exaggerated by default
 * @param commit of the checkout that trained it
 * @param seed of the training
 */
public record ModelFacts(
    int dim,
    int hidden,
    int depth,
    List<String> words,
    List<Integer> sides,
    double guidance,
    String commit,
    long seed) {

  static ModelFacts parse(String json) throws IOException {
    ModelFacts facts;
    try {
      JsonObject object = new Gson().fromJson(json, JsonObject.class);
      facts =
          new ModelFacts(
              number(object, "dim", 0).intValue(),
              number(object, "hidden", 0).intValue(),
              number(object, "depth", 0).intValue(),
              list(object, "words").map(JsonElement::getAsString).toList(),
              list(object, "sides").map(JsonElement::getAsInt).toList(),
              number(object, "guidance", 1).doubleValue(),
              object.has("commit") ? object.get("commit").getAsString() : "unknown",
              number(object, "seed", 0).longValue());
    } catch (RuntimeException e) { // what Gson throws
      throw new IOException("model.json can't be read: " + e.getMessage(), e);
    }
    if (facts.dim <= 0
        || facts.dim % Layers.HEAD_DIM != 0
        || facts.hidden <= 0
        || facts.depth <= 0
        || facts.words.size() < 2
        || facts.sides.isEmpty()) {
      throw new IOException(
          "model.json lacks dim (a multiple of 64), hidden, depth, words or sides, or has a wrong one");
    }
    return facts;
  }

  private static Number number(JsonObject object, String name, Number otherwise) {
    return object.has(name) ? object.get(name).getAsNumber() : otherwise;
  }

  private static Stream<JsonElement> list(JsonObject object, String name) {
    return object.has(name)
        ? StreamSupport.stream(object.getAsJsonArray(name).spliterator(), false)
        : Stream.empty();
  }
}
