package org.attn4j.distributed;

import org.attn4j.distributed.RankException.Kind;

/**
 * What the first rank that noticed a failure wrote into the store. A rank that leaves because of a
 * failure looks to its neighbours as if it had failed itself; from the report they learn who did.
 */
final class Report {
  private static final String KEY = "lost";
  private static final String TOLD = "told";

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
      world.store().add(world.key(TOLD), 1);
    } catch (RuntimeException e) {
      return withoutStore(world, own);
    }
    return stored == null || stored.isEmpty() || stored.equals(text)
        ? own
        : reported(world, stored, own);
  }

  /** The store is gone, and so is whoever served it. */
  private static RankException withoutStore(World world, RankException own) {
    boolean byRank = own.kind() == Kind.PEER_LOST && !world.environment().agentStore();
    return byRank && own.peer() < 0
        ? new RankException(
            Kind.PEER_LOST, 0, "rank 0, which served the store, was lost: " + own.getMessage(), own)
        : own;
  }

  /** How many ranks have written or read a report; all, if the store is gone. */
  static long told(World world) {
    try {
      return world.store().add(world.key(TOLD), 0);
    } catch (RuntimeException e) {
      return Long.MAX_VALUE;
    }
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
