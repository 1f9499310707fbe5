package org.attn4j.distributed;

import java.util.List;
import java.util.Locale;
import org.attn4j.distributed.RankException.Kind;

/**
 * Tells by its text what an exception of c10d means: all of them are plain RuntimeExceptions. The
 * texts are those of PyTorch 2.10's TCPStore, Gloo and ProcessGroupNCCL.
 */
final class Failures {
  private static final int LONGEST = 200;

  private static final List<String> TIMEOUTS =
      List.of("timed out", "timeout", "time out", "did not complete within");
  private static final List<String> LOST =
      List.of(
          "connection closed",
          "connection reset",
          "connection refused",
          "connection was likely closed",
          "broken pipe",
          "pair closure",
          "socket closed",
          "failed to recv",
          "failed to send",
          "remote process",
          "remote error",
          "unhandled system error",
          "nccl communicator was aborted",
          "network is unreachable",
          "no route to host");

  private Failures() {}

  /** The kind of a failed exchange, or null: none that this class knows. */
  static Kind ofExchange(Throwable e) {
    String text = lower(e);
    if (contains(text, LOST)) {
      return Kind.PEER_LOST;
    }
    return contains(text, TIMEOUTS) ? Kind.TIMEOUT : null;
  }

  /** The kind of a failed call of the store. */
  static Kind ofStore(Throwable e) {
    String text = lower(e);
    return contains(text, TIMEOUTS) && !contains(text, LOST) ? Kind.TIMEOUT : Kind.STORE_LOST;
  }

  /** Whether a store could not be served because somebody listens on its port. */
  static boolean portTaken(Throwable e) {
    String text = lower(e);
    return text.contains("eaddrinuse") || text.contains("address already in use");
  }

  private static boolean contains(String text, List<String> parts) {
    return parts.stream().anyMatch(text::contains);
  }

  private static String lower(Throwable e) {
    return firstLine(e).toLowerCase(Locale.ROOT);
  }

  /** The message without C++ frames. */
  static String firstLine(Throwable e) {
    String message = String.valueOf(e.getMessage());
    int end = message.indexOf('\n');
    String line = (end < 0 ? message : message.substring(0, end)).trim();
    int frames = line.indexOf("Exception raised from");
    line = frames > 0 ? line.substring(0, frames).trim() : line;
    line = line.replaceAll("\\[/[^\\]\\s]*/([^/\\]]+)\\] ?", "$1: "); // a path of who built PyTorch
    return line.length() <= LONGEST ? line : line.substring(0, LONGEST) + "...";
  }
}
