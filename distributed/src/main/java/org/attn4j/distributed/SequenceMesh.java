package org.attn4j.distributed;

import java.util.Objects;
import org.attn4j.InvalidAttentionArgumentException;

/**
 * Ranks in rows and columns: {@code ring} positions, between which keys and values travel, of
 * {@code ulysses} members each, which divide the heads among themselves. Rank = position * ulysses
 * + member: the members of a position are neighbours, so that all-to-alls stay within a machine
 * where launchers number the ranks of a machine in a row.
 *
 * <p>Immutable.
 */
public final class SequenceMesh {
  private final int ring;
  private final int ulysses;
  private final String explanation;

  private SequenceMesh(int ring, int ulysses, String explanation) {
    this.ring = ring;
    this.ulysses = ulysses;
    this.explanation = explanation;
  }

  /** A mesh of {@code ring * ulysses} ranks. */
  public static SequenceMesh of(int ring, int ulysses) {
    if (ring < 1 || ulysses < 1) {
      throw new InvalidAttentionArgumentException(
          "ring is " + ring + " and ulysses " + ulysses + "; 1 or more are accepted");
    }
    return new SequenceMesh(ring, ulysses, "ring " + ring + " x ulysses " + ulysses + ", as asked");
  }

  /** The number of positions. */
  public int ring() {
    return ring;
  }

  /** The number of members of a position. */
  public int ulysses() {
    return ulysses;
  }

  /** The number of ranks. */
  public int size() {
    return ring * ulysses;
  }

  /** Why it is as it is: a line, or one for each mesh that was considered. */
  public String explain() {
    return explanation;
  }

  int position(int rank) {
    return rank / ulysses;
  }

  int member(int rank) {
    return rank % ulysses;
  }

  /** The ranks that a rank's keys and values travel to, in the order of their positions. */
  int[] ringRanks(int rank) {
    int[] ranks = new int[ring];
    for (int i = 0; i < ring; i++) {
      ranks[i] = i * ulysses + member(rank);
    }
    return ranks;
  }

  /** The ranks that a rank exchanges heads with, in the order of the heads. */
  int[] ulyssesRanks(int rank) {
    int[] ranks = new int[ulysses];
    for (int i = 0; i < ulysses; i++) {
      ranks[i] = position(rank) * ulysses + i;
    }
    return ranks;
  }

  String description() {
    return "ring=" + ring + ", ulysses=" + ulysses;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof SequenceMesh that && ring == that.ring && ulysses == that.ulysses;
  }

  @Override
  public int hashCode() {
    return Objects.hash(ring, ulysses);
  }

  @Override
  public String toString() {
    return "ring " + ring + " x ulysses " + ulysses;
  }
}
