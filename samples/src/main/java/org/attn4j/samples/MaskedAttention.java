package org.attn4j.samples;

import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.attn4j.BlockGrid;

/**
 * Exact attention over the blocks of one or more maps, for tokens in one order.
 *
 * <p>How much a pixel counts for another doesn't depend on the order. So {@link #run} computes the
 * weights once for all orders; each order adds them up in blocks, and each map adds up its blocks.
 */
final class MaskedAttention {
  private static final int QUERIES = 16; // at a time, to read the keys once for all of them
  private static final int KEYS = 128; // at a time: they fit the L1 cache
  private static final int SUMS = 1 + Picture.CHANNELS; // of weights, of weighted colours
  private static final double LEAST = -700; // e^-700 isn't 0: no row of a map adds up to nothing

  private final PatchTokens tokens;
  private final int[] pixels; // [token]
  private final float[] colours; // [token][CHANNELS]
  private final List<BlockMap> maps; // of one grid
  private final float[][] outputs; // for each map [token][HEAD_DIM]

  MaskedAttention(PatchTokens tokens, List<BlockMap> maps) {
    this.tokens = tokens;
    this.maps = maps;
    pixels = tokens.order().order();
    colours = new float[tokens.count() * Picture.CHANNELS];
    for (int i = 0; i < colours.length; i++) {
      int token = i / Picture.CHANNELS;
      colours[i] = tokens.values()[token * PatchTokens.HEAD_DIM + i % Picture.CHANNELS];
    }
    outputs = new float[maps.size()][tokens.count() * PatchTokens.HEAD_DIM];
  }

  BlockMap map(int index) {
    return maps.get(index);
  }

  /** The result with the map of this index. */
  Picture picture(int index) {
    return tokens.picture(outputs[index]);
  }

  /** Computes all of {@code orders}, which are {@code raster}'s tokens in orders of their own. */
  static void run(PatchTokens raster, List<MaskedAttention> orders) {
    int count = raster.count();
    float[][][] keys = keyTiles(raster);
    IntStream.range(0, (count + QUERIES - 1) / QUERIES)
        .parallel()
        .forEach(
            block -> {
              int first = block * QUERIES;
              int end = Math.min(first + QUERIES, count);
              float[][] scores = scores(raster, keys, first, end);
              double[] weights = new double[count];
              for (int pixel = first; pixel < end; pixel++) {
                softmax(scores[pixel - first], raster.scale(), weights);
                for (MaskedAttention order : orders) {
                  order.attend(pixel, weights);
                }
              }
            });
  }

  /** {@code [tile][HEAD_DIM][KEYS]}, filled up with zeros. */
  private static float[][][] keyTiles(PatchTokens raster) {
    int count = raster.count();
    float[][][] tiles = new float[(count + KEYS - 1) / KEYS][PatchTokens.HEAD_DIM][KEYS];
    for (int key = 0; key < count; key++) {
      for (int c = 0; c < PatchTokens.HEAD_DIM; c++) {
        tiles[key / KEYS][c][key % KEYS] = raster.keys()[key * PatchTokens.HEAD_DIM + c];
      }
    }
    return tiles;
  }

  /** Products with all keys, {@code [query][key]}. */
  private static float[][] scores(PatchTokens raster, float[][][] keys, int first, int end) {
    int count = raster.count();
    float[][] scores = new float[end - first][count];
    float[] sums = new float[KEYS];
    for (int tile = 0; tile < keys.length; tile++) {
      for (int query = first; query < end; query++) {
        Arrays.fill(sums, 0);
        for (int c = 0; c < PatchTokens.HEAD_DIM; c += 4) {
          addProducts(raster.queries(), query * PatchTokens.HEAD_DIM + c, keys[tile], c, sums);
        }
        int from = tile * KEYS;
        System.arraycopy(sums, 0, scores[query - first], from, Math.min(KEYS, count - from));
      }
    }
    return scores;
  }

  // Four channels. All arrays are read at j, which is what lets the JIT compiler use vectors.
  private static void addProducts(float[] query, int at, float[][] tile, int c, float[] sums) {
    float q0 = query[at];
    float q1 = query[at + 1];
    float q2 = query[at + 2];
    float q3 = query[at + 3];
    float[] k0 = tile[c];
    float[] k1 = tile[c + 1];
    float[] k2 = tile[c + 2];
    float[] k3 = tile[c + 3];
    for (int j = 0; j < KEYS; j++) {
      sums[j] += q0 * k0[j] + q1 * k1[j] + q2 * k2[j] + q3 * k3[j];
    }
  }

  /** Weights up to a factor: 1 for the largest score. */
  private static void softmax(float[] scores, float scale, double[] weights) {
    float top = Float.NEGATIVE_INFINITY;
    for (float score : scores) {
      top = Math.max(top, score);
    }
    for (int j = 0; j < scores.length; j++) {
      weights[j] = Math.exp(Math.max(LEAST, (double) scale * (scores[j] - top)));
    }
  }

  /** One query, given how much every pixel counts for it. */
  private void attend(int pixel, double[] weights) {
    int query = tokens.order().place(pixel);
    BlockGrid grid = maps.get(0).grid();
    double[] sums = blockSums(weights, (int) grid.keyBlock(), (int) grid.keyBlocks());
    for (int i = 0; i < outputs.length; i++) {
      double[] total = new double[SUMS];
      for (int block = 0; block < grid.keyBlocks(); block++) {
        if (maps.get(i).computed((int) (query / grid.queryBlock()), block)) {
          for (int s = 0; s < SUMS; s++) {
            total[s] += sums[block * SUMS + s];
          }
        }
      }
      for (int c = 0; c < Picture.CHANNELS && total[0] > 0; c++) { // without a block: zeros
        outputs[i][query * PatchTokens.HEAD_DIM + c] = (float) (total[1 + c] / total[0]);
      }
    }
  }

  /** Of each block of keys the weights and the weighted colours, {@code [block][SUMS]}. */
  private double[] blockSums(double[] weights, int size, int blocks) {
    double[] sums = new double[blocks * SUMS];
    for (int block = 0; block < blocks; block++) {
      double total = 0;
      double red = 0;
      double green = 0;
      double blue = 0;
      for (int j = block * size; j < Math.min((block + 1) * size, pixels.length); j++) {
        double weight = weights[pixels[j]];
        total += weight;
        red += weight * colours[j * Picture.CHANNELS];
        green += weight * colours[j * Picture.CHANNELS + 1];
        blue += weight * colours[j * Picture.CHANNELS + 2];
      }
      sums[block * SUMS] = total;
      sums[block * SUMS + 1] = red;
      sums[block * SUMS + 2] = green;
      sums[block * SUMS + 3] = blue;
    }
    return sums;
  }
}
