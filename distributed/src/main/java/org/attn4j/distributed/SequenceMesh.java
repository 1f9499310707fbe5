package org.attn4j.distributed;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Objects;
import java.util.stream.Collectors;
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

  /**
   * A mesh of {@code ring * ulysses} ranks.
   *
   * @param ring positions, 1 or more
   * @param ulysses members of a position, 1 or more
   * @return the mesh
   */
  public static SequenceMesh of(int ring, int ulysses) {
    if (ring < 1 || ulysses < 1) {
      throw new InvalidAttentionArgumentException(
          "ring is " + ring + " and ulysses " + ulysses + "; 1 or more are accepted");
    }
    return new SequenceMesh(ring, ulysses, "ring " + ring + " x ulysses " + ulysses + ", as asked");
  }

  /**
   * The mesh that the cost model expects to be the fastest, of all with {@code size} ranks.
   *
   * @param cluster GPUs and links; {@link Cluster#H200} for instance
   * @param size the number of ranks
   * @param problem the sizes
   * @return the mesh; {@link #explain} has what was expected of the others
   */
  public static SequenceMesh choose(int size, Cluster cluster, SequenceProblem problem) {
    if (size < 1 || cluster == null || problem == null) {
      throw new InvalidAttentionArgumentException(
          "size is "
              + size
              + ", cluster "
              + cluster
              + ", problem "
              + problem
              + "; 1 or more ranks, a Cluster and a SequenceProblem are needed");
    }
    List<SequenceCost> costs = new ArrayList<>();
    for (int ulysses = 1; ulysses <= size; ulysses++) {
      if (size % ulysses == 0) {
        costs.add(SequenceCost.of(of(size / ulysses, ulysses), cluster, problem));
      }
    }
    costs.sort(Comparator.comparingDouble(SequenceCost::total));
    SequenceMesh best = costs.get(0).mesh();
    String lines = costs.stream().map(SequenceCost::toString).collect(Collectors.joining("\n"));
    return new SequenceMesh(best.ring, best.ulysses, lines);
  }

  /**
   * The same for the ranks of a world, on machines of as many H200 as this rank's has ranks. Which
   * GPUs there are isn't asked: of GPUs that are slower in proportion to their links the order of
   * meshes is the same.
   *
   * @param world the ranks
   * @param problem the sizes
   * @return the mesh; {@link #explain} has what was expected of the others
   */
  public static SequenceMesh choose(World world, SequenceProblem problem) {
    Cluster cluster = Cluster.H200.withGpusPerNode(world.environment().localSize());
    return choose(world.size(), cluster, problem);
  }

  /**
   * The number of positions.
   *
   * @return 1 or more
   */
  public int ring() {
    return ring;
  }

  /**
   * The number of members of a position.
   *
   * @return 1 or more
   */
  public int ulysses() {
    return ulysses;
  }

  /**
   * The number of ranks.
   *
   * @return ring times ulysses
   */
  public int size() {
    return ring * ulysses;
  }

  /**
   * Why it is as it is: a line, or one for each mesh that was considered.
   *
   * @return one or more lines
   */
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
