package org.attn4j.server;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Base64;
import java.util.Locale;
import java.util.logging.Logger;
import org.attn4j.UnsupportedAttentionException;
import org.attn4j.samples.Picture;
import org.attn4j.server.diffusion.Model;
import org.attn4j.server.diffusion.Painter;
import org.attn4j.server.diffusion.Sampler;

/**
 * Generates pictures from words, unless the server runs without a model. Any number of threads may
 * use it.
 */
final class Generator {
  private static final Logger LOG = Logger.getLogger(Generator.class.getName());

  private final Model model; // null: there is none
  private final int maxSide;

  private Generator(Model model, int maxSide) {
    this.model = model;
    this.maxSide = maxSide;
  }

  /** With the model in {@code folder}, or this build's own if that is null, or none. */
  static Generator of(Path folder, int maxSide) {
    if (ServerOptions.NO_MODEL.equals(folder)) {
      return new Generator(null, maxSide);
    }
    try {
      return new Generator(folder == null ? Model.ofBuild() : Model.of(folder), maxSide);
    } catch (IOException e) {
      throw new IllegalStateException("the diffusion model can't be read: " + e.getMessage(), e);
    }
  }

  /** Why no picture can be generated, or null. */
  String obstacle() {
    return model != null
        ? null
        : "the diffusion model's weights are missing: the server was started with --model none";
  }

  /** What {@code GET /api/backends} says of it. */
  JsonObject toJson() {
    JsonObject json = new JsonObject();
    json.addProperty("ready", model != null);
    if (model == null) {
      json.addProperty("reason", obstacle());
      return json;
    }
    JsonArray words = new JsonArray();
    model.facts().words().stream().skip(1).forEach(words::add);
    json.add("words", words);
    JsonArray sides = new JsonArray();
    model.facts().sides().stream().filter(side -> side <= maxSide).forEach(sides::add);
    json.add("sizes", sides);
    json.addProperty("commit", model.facts().commit());
    json.addProperty("seed", model.facts().seed());
    return json;
  }

  /** Reads a body, or throws a {@link Problem}. */
  GenerateRequest request(byte[] body) {
    if (model == null) {
      throw Problem.unavailable(obstacle());
    }
    return GenerateRequest.of(body, model, maxSide);
  }

  /** Who was asked for; else PyTorch on a GPU for dense attention, our tensors on one, the CPU. */
  private Painter painter(GenerateRequest request) {
    String asked = request.backend();
    if (asked.equals("pytorch") || asked.equals("auto") && request.sparsity() == null) {
      try {
        Painter torch = model.onTorch();
        if (asked.equals("pytorch") || torch.onGpu()) {
          return torch;
        }
      } catch (UnsupportedOperationException e) {
        refuse(asked, "pytorch", e);
      }
    }
    if (asked.equals("gpu") || asked.equals("auto")) {
      try {
        return model.onGpu(request.sparsity());
      } catch (UnsupportedOperationException e) {
        refuse(asked, "gpu", e);
      }
    }
    return model.onCpu(request.sparsity());
  }

  private static void refuse(String asked, String backend, UnsupportedOperationException reason) {
    if (asked.equals(backend)) {
      throw Problem.notHere(
          "backend is " + backend + ", which can't run here: " + reason.getMessage());
    }
  }

  /** Paints, a step after the other. */
  JsonObject generate(GenerateRequest request, Progress progress) {
    Painter painter = painter(request);
    try {
      return paint(request, painter, progress);
    } catch (UnsupportedAttentionException e) { // sparsity on a GPU that has no SpargeAttn
      if (!request.backend().equals("auto")) {
        throw Problem.notHere("backend is " + request.backend() + ": " + e.getMessage());
      }
      return paint(request, model.onCpu(request.sparsity()), progress);
    }
  }

  private JsonObject paint(GenerateRequest request, Painter painter, Progress progress) {
    JsonArray images = new JsonArray();
    double[] millis = new double[1];
    for (int i = 0; i < request.images(); i++) {
      String name = request.images() == 1 ? "step" : "picture " + (i + 1);
      float[] x =
          request
              .sampler()
              .sample(
                  painter,
                  Sampler.noise(request.side(), request.seed() + i),
                  request.side(),
                  request.words(),
                  request.steps(),
                  request.guidance(),
                  (number, ms) -> {
                    millis[0] += ms;
                    progress.done(
                        new Progress.Step(name, painter.backend(), number, request.steps(), ms));
                  });
      images.add(Base64.getEncoder().encodeToString(picture(x, request.side()).png()));
    }
    double perStep = millis[0] / (request.images() * request.steps());
    LOG.info(
        () ->
            String.format(
                Locale.ROOT,
                "generate %dx%d: %s (%s), %.1f ms a step, %.1f %% left out",
                request.side(),
                request.side(),
                painter.backend(),
                painter.kernel(),
                perStep,
                100 * painter.leftOut()));
    return answer(request, images, painter, perStep);
  }

  private static JsonObject answer(
      GenerateRequest request, JsonArray images, Painter painter, double perStep) {
    JsonObject served = new JsonObject();
    served.addProperty("backend", painter.backend());
    served.addProperty("kernel", painter.kernel());
    served.addProperty("steps", request.steps());
    served.addProperty("ms_per_step", DenoiseAnswer.rounded(perStep, 3));
    served.addProperty("left_out", DenoiseAnswer.rounded(painter.leftOut(), 6));
    served.add("why", BackendsReport.backends());
    JsonObject json = new JsonObject();
    json.addProperty("prompt", request.prompt());
    json.addProperty("width", request.side());
    json.addProperty("height", request.side());
    json.addProperty("seed", request.seed());
    json.addProperty("sampler", request.sampler().label());
    json.addProperty("guidance", request.guidance());
    json.add("served", served);
    json.add("images", images);
    return json;
  }

  /** From {@code [channel][row][column]} and -1 to 1. */
  private static Picture picture(float[] x, int side) {
    float[] values = new float[x.length];
    for (int i = 0; i < x.length; i++) {
      values[i % (side * side) * Picture.CHANNELS + i / (side * side)] = (x[i] + 1) / 2;
    }
    return Picture.of(side, side, values);
  }
}
