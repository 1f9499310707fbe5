package org.attn4j.distributed;

import java.util.Locale;

/**
 * What a call is expected to cost on a mesh: arithmetic, not a measurement. The fullest rank
 * counts. bench/sequence_cost.py is the same model, and makes the tables of docs/distributed.md.
 *
 * @param mesh the ranks
 * @param total seconds of a call
 * @param oneGpu seconds on one GPU
 * @param compute seconds of attention
 * @param exchange seconds of all-to-alls, which nothing hides
 * @param message bytes of a ring step's message
 * @param exposed seconds of waiting for messages that computing doesn't hide
 * @param merge seconds of merging partial outputs
 */
public record SequenceCost(
    SequenceMesh mesh,
    double total,
    double oneGpu,
    double compute,
    double exchange,
    double message,
    double exposed,
    double merge) {
  private static final double BYTES = 2; // of an element on the wire

  /**
   * The cost of one call.
   *
   * @param mesh the ranks
   * @param cluster GPUs and links
   * @param problem the sizes
   * @return seconds and bytes
   */
  public static SequenceCost of(SequenceMesh mesh, Cluster cluster, SequenceProblem problem) {
    int ring = mesh.ring();
    HeadSplit split = new HeadSplit(problem.heads(), problem.kvHeads(), mesh.ulysses());
    double keys = (double) problem.tokens() / ring;
    double share = problem.causal() ? 0.5 : 1;
    double channels = (double) problem.batch() * problem.headDim();
    double rate = cluster.operationsPerSecond(keys, problem.headDim());
    double step = share * 4 * keys * keys * split.most() * channels / rate;
    double message = ring > 1 ? 2 * keys * split.mostKv() * channels * BYTES : 0;
    boolean far = mesh.size() > cluster.gpusPerNode();
    double link = far ? cluster.networkBytesPerSecond() : cluster.nodeBytesPerSecond();
    double send = message / (link * cluster.linkShare()) + cluster.exchangeSeconds();
    double exposed = (ring - 1) * Math.max(0, send - step);
    // A merge reads the FP32 partial output and the sum, and writes the sum: 12 bytes an element.
    double merged = (ring - 1) * keys * split.most() * channels * 12 * share;
    double merge = merged / cluster.memoryBytesPerSecond();
    double compute = ring * (step + cluster.stepSeconds());
    double exchange = exchange(mesh, cluster, problem, split);
    return new SequenceCost(
        mesh,
        compute + exposed + merge + exchange,
        one(cluster, problem),
        compute,
        exchange,
        message,
        exposed,
        merge);
  }

  private static double one(Cluster cluster, SequenceProblem problem) {
    double tokens = problem.tokens();
    double operations = 4 * tokens * tokens * problem.heads() * problem.batch() * problem.headDim();
    return (problem.causal() ? 0.5 : 1)
            * operations
            / cluster.operationsPerSecond(tokens, problem.headDim())
        + cluster.stepSeconds();
  }

  /** q, k and v one way, the output the other. */
  private static double exchange(
      SequenceMesh mesh, Cluster cluster, SequenceProblem problem, HeadSplit split) {
    int members = mesh.ulysses();
    if (members == 1) {
      return 0;
    }
    double kvHeads = 0; // replicated ones count for each member
    for (int member = 0; member < members; member++) {
      kvHeads += split.kvCount(member);
    }
    double tokens = (double) problem.tokens() / mesh.size();
    double all =
        tokens * problem.batch() * problem.headDim() * (2 * problem.heads() + 2 * kvHeads) * BYTES;
    double sent = all * (members - 1) / members;
    double seconds = sent / (cluster.nodeBytesPerSecond() * cluster.linkShare());
    if (members > cluster.gpusPerNode()) {
      double far = all * (members - cluster.gpusPerNode()) / members;
      seconds = Math.max(seconds, far / (cluster.networkBytesPerSecond() * cluster.linkShare()));
    }
    return seconds + 2 * cluster.exchangeSeconds();
  }

  /**
   * The speed-up over one GPU, divided by the number of GPUs.
   *
   * @return 1 for a perfect speed-up
   */
  public double efficiency() {
    return oneGpu / (mesh.size() * total);
  }

  @Override
  public String toString() {
    return String.format(
        Locale.ROOT,
        "%s: %.2f ms expected, %.0f %% of %d GPUs (compute %.2f, all-to-all %.2f, waiting %.2f, merge"
            + " %.2f)",
        mesh,
        total * 1e3,
        efficiency() * 100,
        mesh.size(),
        compute * 1e3,
        exchange * 1e3,
        exposed * 1e3,
        merge * 1e3);
  }
}
