package org.attn4j.distributed;

import java.time.Duration;
import org.attn4j.distributed.RankException.Kind;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.javacpp.chrono.Milliseconds;
import org.bytedeco.pytorch.Store;
import org.bytedeco.pytorch.StringVector;

/** Waits at the store until all ranks have come, and names one that hasn't. */
final class Arrivals {
  private Arrivals() {}

  /** From then on the store's calls wait as long as any other call. */
  @SuppressWarnings("try") // the scope is there to be closed
  static void await(RankEnvironment environment, WorldOptions options, Store store) {
    String prefix = "g" + environment.generation() + "/arrived/";
    Duration timeout = options.joinTimeout();
    long end = System.nanoTime() + timeout.toNanos();
    try (PointerScope temporaries = new PointerScope()) {
      if (store.add(prefix + environment.rank(), 1) > 1) {
        throw new RankException(
            Kind.MISMATCH,
            environment.rank(),
            "rank "
                + environment.rank()
                + " has come already in generation "
                + environment.generation()
                + "; give each process a rank of its own, and each start its generation or port",
            null);
      }
      for (int rank = 0; rank < environment.size(); rank++) {
        long millis = Math.max(1, (end - System.nanoTime()) / 1_000_000);
        await(store, prefix + rank, rank, millis, timeout);
      }
      store.setTimeout(new Milliseconds(options.timeout().toMillis()));
    }
  }

  private static void await(Store store, String key, int rank, long millis, Duration timeout) {
    try {
      store._wait(new StringVector(key), new Milliseconds(millis));
    } catch (RuntimeException e) {
      Kind kind = Failures.ofStore(e);
      String sentence =
          kind == Kind.TIMEOUT
              ? "rank " + rank + " has not come within " + World.seconds(timeout)
              : "the store was lost while the ranks met: " + Failures.firstLine(e);
      throw new RankException(kind, kind == Kind.TIMEOUT ? rank : 0, sentence, e);
    }
  }
}
