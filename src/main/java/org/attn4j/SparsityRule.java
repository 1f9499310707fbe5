package org.attn4j;

/**
 * How the chain decides whether SpargeAttn serves a call that leaves the backend open and is long
 * enough for it. Decisions are made per call site: shape, masks, thresholds and {@link
 * AttentionOptions#callSite}.
 */
public enum SparsityRule {
  /**
   * By what earlier calls of the site left out. Their kernels report it; the host never waits. The
   * first call is sparse, to learn; then sites whose share doesn't pay are dense, and every 251st
   * of their calls tries again.
   */
  LEARN,
  /**
   * As the site stands, learnt before or restored by {@link SparsityDecisions#restore}; dense where
   * nothing is known. Equal calls have bitwise equal results.
   */
  FROZEN,
  /** SpargeAttn serves, whatever it brings. */
  ALWAYS
}
