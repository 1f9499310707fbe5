package org.attn4j.server;

import com.google.gson.JsonObject;
import io.javalin.http.Context;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.function.Consumer;
import java.util.function.Function;
import java.util.logging.Level;
import java.util.logging.Logger;

/**
 * An answer as server-sent events: a {@code step} whenever one is done, then a {@code result} or a
 * {@code problem}. A request that is turned away before it is queued is answered without events.
 */
final class EventStream {
  static final String CONTENT_TYPE = "text/event-stream";

  private static final Logger LOG = Logger.getLogger(EventStream.class.getName());

  private final HttpServletResponse response;
  private boolean begun;

  private EventStream(HttpServletResponse response) {
    this.response = response;
  }

  /** Runs {@code work}, which reports its steps to what it is given and returns the result. */
  static void answer(Context ctx, Function<Consumer<Progress.Step>, JsonObject> work) {
    EventStream events = new EventStream(ctx.res());
    try {
      events.send("result", work.apply(step -> events.send("step", json(step))));
    } catch (Problem problem) {
      if (!events.begun) {
        throw problem;
      }
      events.sendLast(problem);
    } catch (UncheckedIOException e) { // the client has gone, and with it whoever awaits the work
      LOG.log(Level.FINE, "a client left", e);
    }
  }

  private void sendLast(Problem problem) {
    try {
      send("problem", problem.toJson());
    } catch (UncheckedIOException e) {
      LOG.log(Level.FINE, "a client left", e);
    }
  }

  private static JsonObject json(Progress.Step step) {
    JsonObject json = new JsonObject();
    json.addProperty("name", step.name());
    json.addProperty("backend", step.backend());
    json.addProperty("number", step.number());
    json.addProperty("of", step.of());
    json.addProperty("ms", DenoiseAnswer.rounded(step.millis(), 3));
    return json;
  }

  private void send(String event, JsonObject data) {
    try {
      if (!begun) {
        response.setStatus(HttpServletResponse.SC_OK);
        response.setContentType(CONTENT_TYPE);
        response.setCharacterEncoding(StandardCharsets.UTF_8.name());
        begun = true;
      }
      OutputStream out = response.getOutputStream();
      out.write(("event: " + event + "\ndata: " + data + "\n\n").getBytes(StandardCharsets.UTF_8));
      out.flush();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
