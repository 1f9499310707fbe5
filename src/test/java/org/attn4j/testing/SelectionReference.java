package org.attn4j.testing;

import java.util.Arrays;
import java.util.Comparator;
import java.util.stream.IntStream;

/**
 * The selection of SpargeAttn (arXiv:2502.18137, section 3.3) for one block of queries, with a sort
 * and in double: what the GPU's bisection has to agree with.
 */
public final class SelectionReference {
  /** A decision so close to the threshold that rounding may turn it. */
  private static final double CLOSE = 1e-5;

  /** What the row does with a block. */
  public enum Decision {
    /** Computed. */
    KEEP,
    /** Left out. */
    LEAVE,
    /** Either: the cumulative mass is within rounding of the threshold. */
    EITHER
  }

  /** Thresholds of one head. */
  public record Thresholds(float simthreshd1, float cdfthreshd, float topk, boolean sink) {}

  private SelectionReference() {}

  /**
   * Mean score in log2 units: channel by channel, as the GPU adds, so that rankings are the same.
   */
  public static float score(float[] q, float[] k, float scaleLog2) {
    float sum = 0;
    for (int i = 0; i < q.length; i++) {
      sum = Math.fma(k[i], q[i], sum);
    }
    return sum * scaleLog2;
  }

  /**
   * The decisions of a row.
   *
   * @param scores of the key blocks that the row sees, in log2 units
   * @param similarity of these key blocks
   * @param querySimilarity of the block of queries
   * @param keyBlocks of the whole sequence: what topk is a share of
   */
  public static Decision[] select(
      float[] scores, float[] similarity, float querySimilarity, int keyBlocks, Thresholds t) {
    Decision[] decisions = new Decision[scores.length];
    if (!(querySimilarity > t.simthreshd1())) {
      Arrays.fill(decisions, Decision.KEEP);
      return decisions;
    }
    Arrays.fill(decisions, Decision.KEEP); // what isn't ranked below: no average describes it
    int[] ranked =
        IntStream.range(0, scores.length)
            .filter(j -> similarity[j] > t.simthreshd1() && Float.isFinite(scores[j]))
            .boxed()
            .sorted(Comparator.comparing((Integer j) -> -scores[j] + 0f)) // stable: ties by index
            .mapToInt(Integer::intValue)
            .toArray();
    double total = 0;
    for (int j : ranked) {
      total += Math.exp((scores[j] - (double) scores[ranked[0]]) * Math.log(2));
    }
    int least = Math.max(1, (int) Math.floor(t.topk() * keyBlocks));
    double mass = 0;
    for (int i = 0; i < ranked.length; i++) {
      int j = ranked[i];
      mass += Math.exp((scores[j] - (double) scores[ranked[0]]) * Math.log(2)) / total;
      if (i < least || t.cdfthreshd() >= 1) {
        continue;
      }
      boolean close = Math.abs(mass - t.cdfthreshd()) < CLOSE;
      decisions[j] =
          close ? Decision.EITHER : mass <= t.cdfthreshd() ? Decision.KEEP : Decision.LEAVE;
    }
    if (t.sink() && scores.length > 0) {
      decisions[0] = Decision.KEEP;
    }
    return decisions;
  }
}
