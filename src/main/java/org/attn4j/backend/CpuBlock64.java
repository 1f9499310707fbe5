package org.attn4j.backend;

import java.util.Arrays;

/**
 * One block of queries in double: scores of a tile of keys at a time, with a running maximum and
 * sum per row.
 */
final class CpuBlock64 {
  private static final int TILE = CpuAttention.KEY_TILE;

  private final CpuAttention.Block block;
  private final int headDim;
  private final double[] queries; // [row][headDim]
  private final double[]
      keysTransposed; // [headDim][TILE], so that the loop over keys is the inner one
  private final double[] values; // [TILE][headDim]
  private final double[] accumulators; // [row][headDim]
  private final double[] maxima; // [row]
  private final double[] sums; // [row]
  private final double[] scores = new double[TILE];
  private final float[] buffer;

  CpuBlock64(CpuAttention.Block block) {
    this.block = block;
    this.headDim = block.headDim;
    queries = new double[block.rows * headDim];
    keysTransposed = new double[headDim * TILE];
    values = new double[TILE * headDim];
    accumulators = new double[block.rows * headDim];
    maxima = new double[block.rows];
    sums = new double[block.rows];
    buffer = new float[headDim];
  }

  void run() {
    for (int row = 0; row < block.rows; row++) {
      block.readQuery(row, buffer);
      copy(buffer, queries, row * headDim);
    }
    Arrays.fill(maxima, Double.NEGATIVE_INFINITY);
    long end = block.maxVisibleKeys();
    for (long first = 0; first < end; first += TILE) {
      int count = (int) Math.min(TILE, end - first);
      loadTile(first, count);
      for (int row = 0; row < block.rows; row++) {
        int visible = (int) Math.min(count, block.visibleKeys(row) - first);
        if (visible > 0) {
          attend(row, visible);
        }
      }
    }
    for (int row = 0; row < block.rows; row++) {
      finish(row);
    }
  }

  private void loadTile(long first, int count) {
    for (int j = 0; j < count; j++) {
      block.readKey(first + j, buffer);
      for (int c = 0; c < headDim; c++) {
        keysTransposed[c * TILE + j] = buffer[c];
      }
      block.readValue(first + j, buffer);
      copy(buffer, values, j * headDim);
    }
  }

  private void copy(float[] from, double[] to, int offset) {
    for (int c = 0; c < headDim; c++) {
      to[offset + c] = from[c];
    }
  }

  private void attend(int row, int count) {
    score(row, count);
    double tileMax = Double.NEGATIVE_INFINITY;
    for (int j = 0; j < count; j++) {
      scores[j] *= block.scale;
      tileMax = Math.max(tileMax, scores[j]);
    }
    double max = Math.max(maxima[row], tileMax);
    double rescale = Math.exp(maxima[row] - max);
    double sum = 0;
    for (int j = 0; j < count; j++) {
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
    accumulate(base, count);
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
      int v = j * headDim;
      for (int c = 0; c < headDim; c++) {
        accumulators[base + c] +=
            p0 * values[v + c]
                + p1 * values[v + headDim + c]
                + p2 * values[v + 2 * headDim + c]
                + p3 * values[v + 3 * headDim + c];
      }
    }
    for (; j < count; j++) {
      double p = scores[j];
      for (int c = 0; c < headDim; c++) {
        accumulators[base + c] += p * values[j * headDim + c];
      }
    }
  }

  private void finish(int row) {
    boolean empty = block.visibleKeys(row) == 0;
    for (int c = 0; c < headDim; c++) {
      buffer[c] = empty ? 0 : (float) (accumulators[row * headDim + c] / sums[row]);
    }
    block.writeOutput(row, buffer);
    block.writeLse(row, empty ? Double.NEGATIVE_INFINITY : maxima[row] + Math.log(sums[row]));
  }
}
