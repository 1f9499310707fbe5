package org.attn4j.server;

import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import java.util.TreeMap;
import org.attn4j.Attention;

/**
 * How the server runs.
 *
 * @param host the address to listen on
 * @param port the port; 0 takes a free one
 * @param workers how many requests are computed at once
 * @param queue how many more may wait; the next one is told to come again later
 * @param timeout what a request may take, waiting included
 * @param maxSide the most pixels on a side that attention runs on
 * @param maxBytes the largest upload
 * @param model the folder of a diffusion model, null for the build's own, {@link #NO_MODEL} for
 *     none
 */
public record ServerOptions(
    String host,
    int port,
    int workers,
    int queue,
    Duration timeout,
    int maxSide,
    int maxBytes,
    Path model) {

  static final Path NO_MODEL = Path.of("none");

  static final String USAGE =
      String.join(
          System.lineSeparator(),
          "Serves a page and REST endpoints that denoise pictures by attention.",
          "  --host HOST      address to listen on (default: 127.0.0.1, this machine alone)",
          "  --port N         port, 0 for a free one (default: 8080)",
          "  --workers N      requests that are computed at once (default: 2)",
          "  --queue N        requests that may wait for a worker (default: 16)",
          "  --timeout N      seconds that a request may take, waiting included (default: 120)",
          "  --max-side N     most pixels on a side (default: 256 with a GPU, 128 without)",
          "  --max-bytes N    largest upload in bytes (default: 8388608)",
          "  --model DIR      a diffusion model that samples/model/train.py wrote, or none",
          "                   (default: the build's own)");

  private static final int MOST = 1 << 30;

  /** What holds where the command line says nothing. */
  public static ServerOptions defaults() {
    return of(Map.of());
  }

  /** Reads options, or throws IllegalArgumentException with a sentence. */
  public static ServerOptions parse(String... args) {
    Map<String, String> given = new TreeMap<>();
    for (int i = 0; i < args.length; i += 2) {
      if (!USAGE.contains("  " + args[i] + " ")) {
        throw new IllegalArgumentException(args[i] + " is no option of this server");
      }
      if (i + 1 == args.length) {
        throw new IllegalArgumentException(args[i] + " has no value");
      }
      given.put(args[i], args[i + 1]);
    }
    return of(given);
  }

  private static ServerOptions of(Map<String, String> given) {
    return new ServerOptions(
        given.getOrDefault("--host", "127.0.0.1"),
        number(given, "--port", 8080, 0, 65535),
        number(given, "--workers", 2, 1, 64),
        number(given, "--queue", 16, 0, 1024),
        Duration.ofSeconds(number(given, "--timeout", 120, 1, 3600)),
        number(given, "--max-side", hasGpu() ? 256 : 128, DenoiseRequest.LEAST_SIDE, 1024),
        number(given, "--max-bytes", 8 << 20, 1, MOST),
        given.containsKey("--model") ? Path.of(given.get("--model")) : null);
  }

  /** Whether a backend on a GPU is ready. */
  static boolean hasGpu() {
    return Attention.backends().stream()
        .anyMatch(backend -> backend.ready() && !backend.name().equals("cpu"));
  }

  private static int number(
      Map<String, String> given, String option, int otherwise, int least, int most) {
    String text = given.get(option);
    if (text == null) {
      return otherwise;
    }
    try {
      int value = Integer.parseInt(text);
      if (value >= least && value <= most) {
        return value;
      }
    } catch (NumberFormatException e) {
      // the sentence below says it
    }
    throw new IllegalArgumentException(
        option + " is " + text + "; " + least + " to " + most + " are accepted");
  }
}
