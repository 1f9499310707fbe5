package org.attn4j.distributed;

/**
 * Neighbouring tokens of a sequence.
 *
 * @param from the first, from 0
 * @param to the one after the last
 */
public record TokenRange(long from, long to) {
  /**
   * The number of tokens.
   *
   * @return 0 or more
   */
  public long length() {
    return to - from;
  }

  /**
   * Whether there is none.
   *
   * @return whether there is none
   */
  public boolean isEmpty() {
    return to <= from;
  }
}
