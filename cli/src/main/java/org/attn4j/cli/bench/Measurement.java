package org.attn4j.cli.bench;

import java.util.Arrays;
import java.util.function.BooleanSupplier;

/**
 * Microseconds per call: calls back to back until the last is done, what a program waits.
 *
 * @param median of the rounds
 * @param least of the rounds
 * @param rounds how many there were
 * @param calls how many calls a round had
 */
public record Measurement(double median, double least, int rounds, int calls) {
  private static final double ROUND_MICROS = 20_000;
  private static final int MOST_CALLS = 1000;

  /** Collects the rounds of one server. */
  public static final class Rounds {
    private final Server server;
    private final double[] micros;
    private int done;
    private int calls;

    /** Rounds of a server, at most so many. */
    public Rounds(Server server, int most) {
      this.server = server;
      this.micros = new double[most];
    }

    /** Runs it until it is warm, and finds how many calls make a round. */
    public void warmUp() {
      time(1);
      double once = time(1);
      calls = (int) Math.max(1, Math.min(MOST_CALLS, ROUND_MICROS / once));
      if (calls > 1) {
        calls = (int) Math.max(1, Math.min(MOST_CALLS, ROUND_MICROS / time(calls)));
      }
    }

    /** One more round. */
    public void round() {
      micros[done++] = time(calls);
    }

    private double time(int count) {
      long start = System.nanoTime();
      for (int call = 0; call < count; call++) {
        server.start(call);
      }
      server.await();
      return (System.nanoTime() - start) / 1e3 / count;
    }

    /** The server. */
    public Server server() {
      return server;
    }

    /** What came of the rounds so far, at least one. */
    public Measurement result() {
      double[] sorted = Arrays.copyOf(micros, done);
      Arrays.sort(sorted);
      double median = (sorted[(done - 1) / 2] + sorted[done / 2]) / 2;
      return new Measurement(median, sorted[0], done, calls);
    }
  }

  /** Rounds of all servers in turn, until all are done or the time is over; at least one each. */
  public static void takeTurns(Iterable<Rounds> all, int rounds, BooleanSupplier timeIsOver) {
    for (int round = 0; round < rounds; round++) {
      if (round > 0 && timeIsOver.getAsBoolean()) {
        return;
      }
      for (Rounds each : all) {
        each.round();
      }
    }
  }
}
