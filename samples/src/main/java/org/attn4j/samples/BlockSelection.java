package org.attn4j.samples;

import java.util.Arrays;
import java.util.Comparator;
import java.util.stream.IntStream;
import org.attn4j.BlockGrid;
import org.attn4j.SparsityOptions;

/**
 * Which blocks SpargeAttn computes for one head without a mask (arXiv:2502.18137, section 3.3), in
 * plain Java and double precision: means of blocks, their self-similarity, a softmax over the
 * products of the means, and the blocks that hold most of it. The kernels do the same on the GPU.
 */
public final class BlockSelection {
  private final int headDim;
  private final float scale;
  private final SparsityOptions options;

  /**
   * @param headDim channels of a token
   * @param scale what multiplies the dot product of a query and a key
   * @param options the thresholds; the selection is {@link SparsityOptions.Selection#MASS}
   */
  public BlockSelection(int headDim, float scale, SparsityOptions options) {
    if (options.selection() != SparsityOptions.Selection.MASS) {
      throw new IllegalArgumentException(
          "the selection is " + options.selection() + "; MASS is done here");
    }
    this.headDim = headDim;
    this.scale = scale;
    this.options = options;
  }

  /** Selects for the tokens of a picture. */
  public static BlockMap select(PatchTokens tokens, SparsityOptions options, BlockGrid grid) {
    return new BlockSelection(PatchTokens.HEAD_DIM, tokens.scale(), options)
        .select(tokens.queries(), tokens.keys(), grid);
  }

  /** Mean and self-similarity of one block of tokens. */
  private record Block(double[] mean, double similarity) {}

  /** The grid of SpargeAttn's published block sizes: 128 queries by 64 keys. */
  public static BlockGrid grid(int queries, int keys) {
    return new BlockGrid(128, 64, (queries + 127) / 128, (keys + 63) / 64);
  }

  /** Selects for {@code q} and {@code k}, both {@code [token][headDim]}. */
  public BlockMap select(float[] q, float[] k, BlockGrid grid) {
    Block[] queries = blocks(q, new double[headDim], (int) grid.queryBlock());
    Block[] keys = blocks(k, meanToken(k), (int) grid.keyBlock());
    boolean[] computed = new boolean[queries.length * keys.length];
    IntStream.range(0, queries.length)
        .parallel()
        .forEach(row -> select(queries[row], keys, computed, row * keys.length));
    return new BlockMap(grid, computed);
  }

  // SageAttention takes the mean of K over the sequence away; softmax doesn't see it.
  private double[] meanToken(float[] rows) {
    double[] mean = new double[headDim];
    for (int i = 0; i < rows.length; i++) {
      mean[i % headDim] += rows[i];
    }
    for (int c = 0; c < headDim; c++) {
      mean[c] /= rows.length / headDim;
    }
    return mean;
  }

  private Block[] blocks(float[] rows, double[] shift, int size) {
    int tokens = rows.length / headDim;
    return IntStream.range(0, (tokens + size - 1) / size)
        .mapToObj(i -> block(rows, shift, i * size, Math.min((i + 1) * size, tokens)))
        .toArray(Block[]::new);
  }

  // The mean cosine over all pairs of tokens is |sum of x / |x||^2 / n^2. A zero token has no
  // direction: the similarity is NaN, which is above no threshold.
  private Block block(float[] rows, double[] shift, int from, int to) {
    double[] mean = new double[headDim];
    double[] direction = new double[headDim];
    for (int token = from; token < to; token++) {
      double square = 0;
      for (int c = 0; c < headDim; c++) {
        double x = rows[token * headDim + c] - shift[c];
        square += x * x;
      }
      double norm = Math.sqrt(square);
      for (int c = 0; c < headDim; c++) {
        double x = rows[token * headDim + c] - shift[c];
        mean[c] += x / (to - from);
        direction[c] += x / norm / (to - from);
      }
    }
    return new Block(mean, dot(direction, direction));
  }

  private void select(Block query, Block[] keys, boolean[] computed, int start) {
    // What no average describes is always computed.
    Arrays.fill(computed, start, start + keys.length, true);
    if (!describes(query)) {
      return;
    }
    double[] scores = new double[keys.length];
    for (int j = 0; j < keys.length; j++) {
      scores[j] = scale * dot(query.mean(), keys[j].mean());
    }
    int[] ranked =
        IntStream.range(0, keys.length)
            .filter(j -> describes(keys[j]) && Double.isFinite(scores[j]))
            .boxed()
            .sorted(Comparator.comparingDouble(j -> -scores[j])) // stable: ties by index
            .mapToInt(Integer::intValue)
            .toArray();
    leaveOut(ranked, scores, computed, start);
    if (options.attentionSink() && keys.length > 0) {
      computed[start] = true;
    }
  }

  /** Keeps the longest run of the ranking that holds no more than cdfthreshd, or topk if longer. */
  private void leaveOut(int[] ranked, double[] scores, boolean[] computed, int start) {
    double total = 0;
    for (int j : ranked) {
      total += Math.exp(scores[j] - scores[ranked[0]]);
    }
    int least = Math.max(1, (int) (options.topk() * scores.length));
    double mass = 0;
    for (int i = 0; i < ranked.length; i++) {
      mass += Math.exp(scores[ranked[i]] - scores[ranked[0]]) / total;
      boolean fits = options.cdfthreshd() >= 1 || mass <= options.cdfthreshd();
      computed[start + ranked[i]] = i < least || fits;
    }
  }

  private boolean describes(Block block) {
    return block.similarity() > options.simthreshd1();
  }

  private static double dot(double[] a, double[] b) {
    double sum = 0;
    for (int i = 0; i < a.length; i++) {
      sum += a[i] * b[i];
    }
    return sum;
  }
}
