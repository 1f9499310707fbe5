package org.attn4j.server;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import org.attn4j.Attention;
import org.attn4j.BackendInfo;
import org.attn4j.Doctor;

/** What {@code GET /api/backends} answers: what the doctor says, line by line and in words. */
final class BackendsReport {
  private BackendsReport() {}

  static JsonObject toJson(ServerOptions options, Generator generator) {
    ByteArrayOutputStream text = new ByteArrayOutputStream();
    boolean gpu = Doctor.examine(new PrintStream(text, true, StandardCharsets.UTF_8));
    JsonObject json = new JsonObject();
    json.addProperty("gpu", gpu);
    json.add("backends", backends());
    JsonArray doctor = new JsonArray();
    text.toString(StandardCharsets.UTF_8).lines().forEach(doctor::add);
    json.add("doctor", doctor);
    JsonObject limits = new JsonObject();
    limits.addProperty("min_size", DenoiseRequest.LEAST_SIDE);
    limits.addProperty("max_size", options.maxSide());
    limits.addProperty("default_size", Math.min(DenoiseRequest.USUAL_SIDE, options.maxSide()));
    limits.addProperty("max_bytes", options.maxBytes());
    limits.addProperty("max_pixels", UploadedPicture.MOST_PIXELS);
    limits.addProperty("timeout_seconds", options.timeout().toSeconds());
    limits.addProperty("workers", options.workers());
    limits.addProperty("queue", options.queue());
    json.add("limits", limits);
    json.add("generate", generator.toJson());
    return json;
  }

  /** Each backend, whether it can serve here, and why. */
  static JsonArray backends() {
    JsonArray backends = new JsonArray();
    for (BackendInfo info : Attention.backends()) {
      JsonObject backend = new JsonObject();
      backend.addProperty("name", info.name());
      backend.addProperty("ready", info.ready());
      backend.addProperty("reason", info.reason());
      backends.add(backend);
    }
    return backends;
  }
}
