package org.attn4j.distributed;

/** How keys and values get to the other positions of a mesh whose ring is longer than 1. */
public enum KeyExchange {
  /**
   * From neighbour to neighbour. Each block is computed while the next one travels, and the partial
   * outputs are merged by log-sum-exp. Two blocks of memory. Dense attention only.
   */
  RING,
  /**
   * From each position to all others, some heads at a time: those heads' keys and values of the
   * whole sequence lie in memory, and one ordinary call computes their attention while the next
   * heads travel. Nothing is merged; every backend may serve.
   */
  ALL_GATHER
}
