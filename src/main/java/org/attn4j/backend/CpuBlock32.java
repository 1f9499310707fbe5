package org.attn4j.backend;

import java.util.Arrays;

/**
 * A block in float.
 *
 * <p>An array for each row, so that the inner loops read all arrays at one index: C2 makes vectors
 * of such loops only, as it can't tell whether two arrays at different offsets are the same memory.
 */
final class CpuBlock32 extends CpuBlock {
  private final float scale;
  private final float[] queries; // [row][headDim]
  private final float[][] keysTransposed; // [headDim][TILE]: the loop over keys is the inner one
  private final float[][] values; // [TILE][headDim]
  private final float[][] accumulators; // [row][headDim]
  private final float[] maxima; // [row]
  private final float[] sums; // [row]
  private final float[] scores = new float[TILE];

  CpuBlock32(CpuAttention.Block block) {
    super(block);
    this.scale = (float) block.scale;
    queries = new float[block.rows * headDim];
    keysTransposed = new float[headDim][TILE];
    values = new float[TILE][headDim];
    accumulators = new float[block.rows][headDim];
    maxima = new float[block.rows];
    Arrays.fill(maxima, Float.NEGATIVE_INFINITY);
    sums = new float[block.rows];
  }

  @Override
  void keepQuery(int row) {
    System.arraycopy(buffer, 0, queries, row * headDim, headDim);
  }

  @Override
  void keepKey(int j) {
    for (int c = 0; c < headDim; c++) {
      keysTransposed[c][j] = buffer[c];
    }
  }

  @Override
  void keepValue(int j) {
    System.arraycopy(buffer, 0, values[j], 0, headDim);
  }

  @Override
  void attend(int row, int count, int visible) {
    score(row, count);
    scale(visible);
    float tileMax = Float.NEGATIVE_INFINITY;
    for (int j = 0; j < visible; j++) {
      tileMax = Math.max(tileMax, scores[j]);
    }
    float max = Math.max(maxima[row], tileMax);
    float rescale = (float) Math.exp(maxima[row] - max);
    float sum = 0;
    for (int j = 0; j < visible; j++) {
      scores[j] = (float) Math.exp(scores[j] - max);
      sum += scores[j];
    }
    maxima[row] = max;
    sums[row] = sums[row] * rescale + sum;
    if (rescale != 1) {
      for (int c = 0; c < headDim; c++) {
        accumulators[row][c] *= rescale;
      }
    }
    accumulate(accumulators[row], visible);
  }

  /** Scales the scores; with a mask leaves those of the keys that the row sees, at the front. */
  private void scale(int visible) {
    if (!block.hasMask()) {
      for (int j = 0; j < visible; j++) {
        scores[j] *= scale;
      }
      return;
    }
    for (int j = 0; j < visible; j++) {
      scores[j] = scores[seen[j]] * scale + (float) addends[j]; // seen[j] is j or larger
    }
  }

  // Four channels at a time: one load and store of the score for four products.
  private void score(int row, int count) {
    Arrays.fill(scores, 0, count, 0);
    int base = row * headDim;
    int c = 0;
    for (; c + 4 <= headDim; c += 4) {
      float q0 = queries[base + c];
      float q1 = queries[base + c + 1];
      float q2 = queries[base + c + 2];
      float q3 = queries[base + c + 3];
      float[] k0 = keysTransposed[c];
      float[] k1 = keysTransposed[c + 1];
      float[] k2 = keysTransposed[c + 2];
      float[] k3 = keysTransposed[c + 3];
      for (int j = 0; j < count; j++) {
        scores[j] += q0 * k0[j] + q1 * k1[j] + q2 * k2[j] + q3 * k3[j];
      }
    }
    for (; c < headDim; c++) {
      float q = queries[base + c];
      float[] k = keysTransposed[c];
      for (int j = 0; j < count; j++) {
        scores[j] += q * k[j];
      }
    }
  }

  // Four keys at a time, for the same reason.
  private void accumulate(float[] accumulator, int count) {
    int j = 0;
    for (; j + 4 <= count; j += 4) {
      float p0 = scores[j];
      float p1 = scores[j + 1];
      float p2 = scores[j + 2];
      float p3 = scores[j + 3];
      float[] v0 = values[seen[j]];
      float[] v1 = values[seen[j + 1]];
      float[] v2 = values[seen[j + 2]];
      float[] v3 = values[seen[j + 3]];
      for (int c = 0; c < headDim; c++) {
        accumulator[c] += p0 * v0[c] + p1 * v1[c] + p2 * v2[c] + p3 * v3[c];
      }
    }
    for (; j < count; j++) {
      float p = scores[j];
      float[] v = values[seen[j]];
      for (int c = 0; c < headDim; c++) {
        accumulator[c] += p * v[c];
      }
    }
  }

  @Override
  double finish(int row) {
    for (int c = 0; c < headDim; c++) {
      buffer[c] = accumulators[row][c] / sums[row];
    }
    return maxima[row] + Math.log(sums[row]);
  }
}
