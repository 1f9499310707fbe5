package org.attn4j.distributed;

import org.attn4j.distributed.RankException.Kind;

/**
 * What the first rank that noticed a failure wrote into the store. A rank that leaves because of a
 * failure looks to its neighbours as if it had failed itself; from the report they learn who did.
 */
final class Report {
  private static final String KEY = "lost";

  private Report() {}

  /** Writes a failure into the store, unless there is one. Never throws. */
  static void publish(World world, RankException own) {
    first(world, own);
  }

  /** The failure that was reported first: another rank's, or our own, which is then written. */
  static RankException first(World world, RankException own) {
    String text = own.kind() + "|" + own.peer() + "|" + world.rank() + "|" + own.getMessage();
    String stored;
    try {
      stored = world.store().compareSet(world.key(KEY), "", text);
    } catch (RuntimeException e) {
      // Whoever served the store is gone too: all that is known is what this rank saw.
      return own;
    }
    return stored == null || stored.isEmpty() || stored.equals(text)
        ? own
        : reported(world, stored, own);
  }

  private static RankException reported(World world, String stored, RankException own) {
    String[] parts = stored.split("\\|", 4);
    if (parts.length < 4 || Integer.parseInt(parts[2]) == world.rank()) {
      return own;
    }
    Kind kind = Kind.valueOf(parts[0]);
    int peer = Integer.parseInt(parts[1]);
    if (peer == world.rank()) { // they lost us: nothing new
      return own;
    }
    String sentence =
        kind == Kind.ABORTED ? parts[3] : "rank " + parts[2] + " reported: " + parts[3];
    return new RankException(kind, peer, sentence, own);
  }
}
