package org.attn4j;

/**
 * How many rows of Q and K share one INT8 scale (SageAttention section 3.2, SageAttention2 section
 * 3.2). Read by the quantised backends alone.
 */
public enum QuantGranularity {
  /** 128 queries; 64 keys. */
  PER_BLOCK,
  /** 32 queries; 64 keys. */
  PER_WARP,
  /**
   * 1 query; the 8 keys {32g + 8i + 2t + e : i &lt; 4, e &lt; 2}. The most accurate, and the
   * default.
   */
  PER_THREAD
}
