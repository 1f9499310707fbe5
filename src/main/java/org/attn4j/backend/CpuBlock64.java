package org.attn4j.backend;

import java.util.Arrays;

/** A block in double. */
final class CpuBlock64 extends CpuBlock {
  private final double[] queries; // [row][headDim]
  private final double[]
      keysTransposed; // [headDim][TILE], so that the loop over keys is the inner one
  private final double[] values; // [TILE][headDim]
  private final double[] accumulators; // [row][headDim]
  private final double[] maxima; // [row]
  private final double[] sums; // [row]
  private final double[] scores = new double[TILE];

  CpuBlock64(CpuAttention.Block block) {
    super(block);
    queries = new double[block.rows * headDim];
    keysTransposed = new double[headDim * TILE];
    values = new double[TILE * headDim];
    accumulators = new double[block.rows * headDim];
    maxima = new double[block.rows];
    Arrays.fill(maxima, Double.NEGATIVE_INFINITY);
    sums = new double[block.rows];
  }

  @Override
  void keepQuery(int row) {
    copy(queries, row * headDim);
  }

  @Override
  void keepKey(int j) {
    for (int c = 0; c < headDim; c++) {
      keysTransposed[c * TILE + j] = buffer[c];
    }
  }

  @Override
  void keepValue(int j) {
    copy(values, j * headDim);
  }

  private void copy(double[] to, int offset) {
    for (int c = 0; c < headDim; c++) {
      to[offset + c] = buffer[c];
    }
  }

  @Override
  void attend(int row, int count, int visible) {
    score(row, count);
    scale(visible);
    double tileMax = Double.NEGATIVE_INFINITY;
    for (int j = 0; j < visible; j++) {
      tileMax = Math.max(tileMax, scores[j]);
    }
    double max = Math.max(maxima[row], tileMax);
    double rescale = Math.exp(maxima[row] - max);
    double sum = 0;
    for (int j = 0; j < visible; j++) {
      scores[j] = Math.exp(scores[j] - max);
      sum += scores[j];
    }
    maxima[row] = max;
    sums[row] = sums[row] * rescale + sum;
    int base = row * headDim;
    if (rescale != 1) {
      for (int c = 0; c < headDim; c++) {
        accumulators[base + c] *= rescale;
      }
    }
    accumulate(base, visible);
  }

  /** Scales the scores; with a mask leaves those of the keys that the row sees, at the front. */
  private void scale(int visible) {
    if (!block.hasMask()) {
      for (int j = 0; j < visible; j++) {
        scores[j] *= block.scale;
      }
      return;
    }
    for (int j = 0; j < visible; j++) {
      scores[j] = scores[seen[j]] * block.scale + addends[j]; // seen[j] is j or larger
    }
  }

  // Four channels at a time: one load and store of the score for four products.
  private void score(int row, int count) {
    Arrays.fill(scores, 0, count, 0);
    int base = row * headDim;
    int c = 0;
    for (; c + 4 <= headDim; c += 4) {
      double q0 = queries[base + c];
      double q1 = queries[base + c + 1];
      double q2 = queries[base + c + 2];
      double q3 = queries[base + c + 3];
      int k = c * TILE;
      for (int j = 0; j < count; j++) {
        scores[j] +=
            q0 * keysTransposed[k + j]
                + q1 * keysTransposed[k + TILE + j]
                + q2 * keysTransposed[k + 2 * TILE + j]
                + q3 * keysTransposed[k + 3 * TILE + j];
      }
    }
    for (; c < headDim; c++) {
      double q = queries[base + c];
      for (int j = 0; j < count; j++) {
        scores[j] += q * keysTransposed[c * TILE + j];
      }
    }
  }

  // Four keys at a time, for the same reason.
  private void accumulate(int base, int count) {
    int j = 0;
    for (; j + 4 <= count; j += 4) {
      double p0 = scores[j];
      double p1 = scores[j + 1];
      double p2 = scores[j + 2];
      double p3 = scores[j + 3];
      int v0 = seen[j] * headDim;
      int v1 = seen[j + 1] * headDim;
      int v2 = seen[j + 2] * headDim;
      int v3 = seen[j + 3] * headDim;
      for (int c = 0; c < headDim; c++) {
        accumulators[base + c] +=
            p0 * values[v0 + c] + p1 * values[v1 + c] + p2 * values[v2 + c] + p3 * values[v3 + c];
      }
    }
    for (; j < count; j++) {
      double p = scores[j];
      int v = seen[j] * headDim;
      for (int c = 0; c < headDim; c++) {
        accumulators[base + c] += p * values[v + c];
      }
    }
  }

  @Override
  double finish(int row) {
    for (int c = 0; c < headDim; c++) {
      buffer[c] = (float) (accumulators[row * headDim + c] / sums[row]);
    }
    return maxima[row] + Math.log(sums[row]);
  }
}
