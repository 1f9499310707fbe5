package org.attn4j.distributed;

/**
 * A collective call could not be finished. The {@link World} is lost with it: close it, and join a
 * new one if the ranks that are left want to go on.
 */
public final class RankException extends RuntimeException {
  private static final long serialVersionUID = 1;

  /** What went wrong. */
  public enum Kind {
    /** A process ended, or closed its connections. */
    PEER_LOST,
    /** A rank did not answer within the world's time-out. */
    TIMEOUT,
    /** The key-value store that rank 0 or torchrun's agent serves can't be reached or served. */
    STORE_LOST,
    /** Two ranks were given different arguments. */
    MISMATCH,
    /** A rank called {@link World#abort}. */
    ABORTED
  }

  /** What went wrong. */
  private final Kind kind;

  /** The rank that it is about, or -1. */
  private final int peer;

  RankException(Kind kind, int peer, String sentence, Throwable cause) {
    super(sentence, cause);
    this.kind = kind;
    this.peer = peer;
  }

  /**
   * What went wrong.
   *
   * @return the kind
   */
  public Kind kind() {
    return kind;
  }

  /**
   * The rank that it is about, or -1 if that isn't known.
   *
   * @return a rank, or -1
   */
  public int peer() {
    return peer;
  }
}
