package org.attn4j;

/** Which keys a query sees. Query i of lq, key j of lk. */
public enum CausalMask {
  /** All of them. */
  NONE,
  /** Keys j &lt;= i: what PyTorch's is_causal means. */
  TOP_LEFT,
  /**
   * Keys j &lt;= i + (lk - lq): the last query sees the last key, as in decoding with a KV cache.
   */
  BOTTOM_RIGHT
}
