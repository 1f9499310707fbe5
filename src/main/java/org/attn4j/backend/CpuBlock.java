package org.attn4j.backend;

import java.util.Arrays;

/**
 * One block of queries against all its keys, a tile of keys at a time, with a running maximum and
 * sum per row. In which type is the subclass's: its inner loops are written out for it, because C2
 * makes vectors of nothing else.
 */
abstract class CpuBlock {
  static final int TILE = CpuAttention.KEY_TILE;

  final CpuAttention.Block block;
  final int headDim;
  final float[] buffer; // one row on its way in or out
  final int[] seen = new int[TILE]; // the keys of the tile that a row sees, by index in the tile
  final double[] addends = new double[TILE]; // what is added to the scores of these, in this order
  private final boolean[] rowSees; // whether the row has seen a key

  CpuBlock(CpuAttention.Block block) {
    this.block = block;
    this.headDim = block.headDim;
    buffer = new float[headDim];
    rowSees = new boolean[block.rows];
    for (int j = 0; j < TILE; j++) {
      seen[j] = j; // all of them, unless a mask says otherwise
    }
  }

  /** Keeps the query in {@link #buffer}. */
  abstract void keepQuery(int row);

  /** Keeps the key in {@link #buffer}, the {@code j}-th of the tile. */
  abstract void keepKey(int j);

  /** Keeps the value in {@link #buffer}, the {@code j}-th of the tile. */
  abstract void keepValue(int j);

  /**
   * Adds the keys that {@link #seen} has up to {@code visible} to a row, all of them among the
   * first {@code count} of the tile.
   */
  abstract void attend(int row, int count, int visible);

  /** Leaves the row's output in {@link #buffer}; its log-sum-exp. The row has seen a key. */
  abstract double finish(int row);

  final void run() {
    for (int row = 0; row < block.rows; row++) {
      block.readQuery(row, buffer);
      keepQuery(row);
    }
    long end = block.maxVisibleKeys();
    for (long first = block.firstVisibleKey(); first < end; first += TILE) {
      int count = (int) Math.min(TILE, end - first);
      for (int j = 0; j < count; j++) {
        block.readKey(first + j, buffer);
        keepKey(j);
        block.readValue(first + j, buffer);
        keepValue(j);
      }
      for (int row = 0; row < block.rows; row++) {
        int within = (int) Math.min(count, block.visibleKeys(row) - first);
        int visible = within > 0 && block.hasMask() ? applyMask(row, first, within) : within;
        if (visible > 0) {
          rowSees[row] = true;
          attend(row, within, visible);
        }
      }
    }
    for (int row = 0; row < block.rows; row++) {
      double lse = Double.NEGATIVE_INFINITY;
      if (rowSees[row]) {
        lse = finish(row);
      } else {
        Arrays.fill(buffer, 0);
      }
      block.writeOutput(row, buffer);
      block.writeLse(row, lse);
    }
  }

  /** Finds the keys that the row sees among {@code count}, and what is added to their scores. */
  private int applyMask(int row, long first, int count) {
    block.readMask(row, first, count, addends);
    int visible = 0;
    for (int j = 0; j < count; j++) {
      if (addends[j] != Double.NEGATIVE_INFINITY) {
        seen[visible] = j;
        addends[visible++] = addends[j];
      }
    }
    return visible;
  }
}
