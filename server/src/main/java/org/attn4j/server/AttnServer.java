package org.attn4j.server;

import com.google.gson.JsonObject;
import io.javalin.Javalin;
import io.javalin.config.JavalinConfig;
import io.javalin.http.Context;
import io.javalin.http.HttpResponseException;
import io.javalin.http.staticfiles.Location;
import java.io.IOException;
import java.io.InputStream;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import java.util.logging.Level;
import java.util.logging.Logger;
import org.attn4j.samples.DenoiseDemo;

/** The HTTP side: a page, {@code /api/backends}, {@code /api/denoise} and {@code /api/generate}. */
public final class AttnServer implements AutoCloseable {
  private static final Logger LOG = Logger.getLogger(AttnServer.class.getName());
  private static final String JSON = "application/json";
  private static final String PNG = "image/png";
  private static final String EXAMPLE = "chelsea.png";
  private static final String PAGE = "/org/attn4j/server/page";
  private static final Map<String, String> HEADERS =
      Map.of(
          "Content-Security-Policy",
          "default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'",
          "X-Content-Type-Options",
          "nosniff",
          "Referrer-Policy",
          "no-referrer",
          "Cache-Control",
          "no-cache");

  private final ServerOptions options;
  private final WorkQueue queue;
  private final Denoiser denoiser = new Denoiser();
  private final Generator generator;
  private final Javalin http;

  private AttnServer(ServerOptions options) {
    this.options = options;
    generator = Generator.of(options.model(), options.maxSide());
    queue = new WorkQueue(options.workers(), options.queue(), options.timeout());
    http = Javalin.create(this::configure);
  }

  /** Starts to listen, or throws IllegalStateException with the reason. */
  public static AttnServer start(ServerOptions options) {
    AttnServer server = new AttnServer(options);
    try {
      server.denoiser.warmUp();
      server.http.start(options.host(), options.port());
      return server;
    } catch (RuntimeException e) {
      server.close();
      throw new IllegalStateException(
          "can't listen on " + options.host() + ":" + options.port() + ": " + rootMessage(e), e);
    }
  }

  private static String rootMessage(Throwable failure) {
    Throwable root = failure;
    while (root.getCause() != null) {
      root = root.getCause();
    }
    return root.getMessage();
  }

  /** The port that it listens on. */
  public int port() {
    return http.port();
  }

  @Override
  public void close() {
    http.stop();
    queue.close();
  }

  private void configure(JavalinConfig config) {
    config.startup.showJavalinBanner = false;
    config.startup.showOldJavalinVersionWarning = false;
    config.startup.startupWatcherEnabled = false;
    config.http.prefer405over404 = true;
    config.staticFiles.add(
        files -> {
          files.directory = PAGE;
          files.location = Location.CLASSPATH;
          files.headers = HEADERS;
        });
    Guard guard = new Guard(options.host());
    config.routes.before(
        ctx -> {
          HEADERS.forEach(ctx::header);
          guard.check(ctx);
        });
    config.routes.get("/api/backends", this::backends);
    config.routes.get("/api/example", this::example);
    config.routes.post("/api/denoise", this::denoise);
    config.routes.post("/api/generate", this::generate);
    config.routes.exception(Problem.class, (problem, ctx) -> answer(ctx, problem));
    config.routes.exception(HttpResponseException.class, (e, ctx) -> answer(ctx, ofJavalin(e)));
    config.routes.exception(
        Exception.class,
        (e, ctx) -> {
          LOG.log(Level.SEVERE, ctx.method() + " " + ctx.path() + " failed", e);
          answer(ctx, Problem.internal());
        });
  }

  private static Problem ofJavalin(HttpResponseException e) {
    return switch (e.getStatus()) {
      case 404 ->
          Problem.notFound("there is nothing at this address; docs/server.md lists what is");
      case 405 -> Problem.methodNotAllowed("this address answers to another method");
      default -> Problem.badRequest(e.getMessage());
    };
  }

  private void answer(Context ctx, Problem problem) {
    if (!bodyWasRead(ctx)) {
      ctx.header("Connection", "close");
    }
    if (problem.retryAfterSeconds() > 0) {
      ctx.header("Retry-After", Long.toString(problem.retryAfterSeconds()));
    }
    ctx.status(problem.status())
        .contentType(Problem.CONTENT_TYPE)
        .result(problem.toJson().toString());
  }

  private void backends(Context ctx) {
    parameters(ctx, List.of());
    String json = BackendsReport.toJson(options, generator).toString();
    ctx.contentType(JSON).result(json);
  }

  private void example(Context ctx) throws IOException {
    parameters(ctx, List.of());
    try (InputStream in = DenoiseDemo.class.getResourceAsStream(EXAMPLE)) {
      ctx.contentType(PNG).result(in.readAllBytes());
    }
  }

  private void generate(Context ctx) throws IOException {
    parameters(ctx, List.of());
    GenerateRequest request = generator.request(body(ctx));
    Function<Progress, JsonObject> work = progress -> generator.generate(request, progress);
    if (accept(ctx).startsWith(EventStream.CONTENT_TYPE)) {
      EventStream.answer(ctx, steps -> queue.run(work, steps));
    } else {
      ctx.contentType(JSON).result(queue.run(work, step -> {}).toString());
    }
  }

  private static String accept(Context ctx) {
    return ctx.header("Accept") == null ? "*/*" : ctx.header("Accept");
  }

  private void denoise(Context ctx) throws IOException {
    DenoiseRequest request = DenoiseRequest.of(query(ctx), options.maxSide());
    // Decoded by the worker: what waits is as small as what was sent.
    byte[] picture = body(ctx);
    Function<Progress, DenoiseAnswer> work =
        progress -> denoiser.denoise(request, UploadedPicture.decode(picture), progress);
    String accept = accept(ctx);
    if (accept.startsWith(EventStream.CONTENT_TYPE)) {
      EventStream.answer(ctx, steps -> queue.run(work, steps).toJson());
      return;
    }
    DenoiseAnswer answer = queue.run(work, step -> {});
    if (accept.startsWith(PNG)) {
      ctx.header("Attn4j-Backend", answer.result().backend());
      ctx.header("Attn4j-Kernel", answer.result().kernel());
      ctx.header("Attn4j-Millis", DenoiseAnswer.rounded(answer.result().millis(), 3).toString());
      ctx.header("Attn4j-Left-Out", DenoiseAnswer.rounded(answer.leftOut(), 6).toString());
      ctx.contentType(PNG).result(answer.result().picture().png());
      return;
    }
    JsonObject json = answer.toJson();
    ctx.contentType(JSON).result(json.toString());
  }

  /** Names and values behind the question mark; a name that comes twice is refused. */
  private static Map<String, String> query(Context ctx) {
    Map<String, String> values = new HashMap<>();
    ctx.queryParamMap()
        .forEach(
            (name, all) -> {
              if (all.size() != 1) {
                throw Problem.badRequest(
                    Parameters.shown(name) + " comes " + all.size() + " times; once is accepted");
              }
              values.put(name, all.get(0));
            });
    return values;
  }

  private static void parameters(Context ctx, List<String> known) {
    Map<String, String> given = query(ctx);
    if (known.isEmpty() && !given.isEmpty()) {
      throw Problem.badRequest("this address takes no parameters");
    }
    Parameters.of(given, known);
  }

  private byte[] body(Context ctx) throws IOException {
    if (ctx.req().getContentLengthLong() > options.maxBytes()) {
      throw tooLarge();
    }
    try (InputStream in = ctx.bodyInputStream()) {
      byte[] bytes = in.readNBytes(options.maxBytes() + 1);
      if (bytes.length > options.maxBytes()) {
        throw tooLarge();
      }
      return bytes;
    }
  }

  /**
   * Reads what is left of a refused request's body, up to the size that is accepted: a client that
   * still sends, or uses the connection again, would find it closed and never see the answer.
   */
  private boolean bodyWasRead(Context ctx) {
    if (ctx.req().getContentLengthLong() > options.maxBytes()) {
      return false;
    }
    try {
      InputStream in = ctx.bodyInputStream();
      return in.readNBytes(options.maxBytes()).length < options.maxBytes() || in.read() < 0;
    } catch (IOException e) {
      return false;
    }
  }

  private Problem tooLarge() {
    return Problem.tooLarge(
        "the body is too large; up to " + options.maxBytes() + " bytes are accepted");
  }
}
