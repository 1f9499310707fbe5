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

  CpuBlock(CpuAttention.Block block) {
    this.block = block;
    this.headDim = block.headDim;
    buffer = new float[headDim];
  }

  /** Keeps the query in {@link #buffer}. */
  abstract void keepQuery(int row);

  /** Keeps the key in {@link #buffer}, the {@code j}-th of the tile. */
  abstract void keepKey(int j);

  /** Keeps the value in {@link #buffer}, the {@code j}-th of the tile. */
  abstract void keepValue(int j);

  /** Adds the first {@code count} keys of the tile to a row. */
  abstract void attend(int row, int count);

  /** Leaves the row's output in {@link #buffer}; its log-sum-exp. The row has seen a key. */
  abstract double finish(int row);

  final void run() {
    for (int row = 0; row < block.rows; row++) {
      block.readQuery(row, buffer);
      keepQuery(row);
    }
    long end = block.maxVisibleKeys();
    for (long first = 0; first < end; first += TILE) {
      int count = (int) Math.min(TILE, end - first);
      for (int j = 0; j < count; j++) {
        block.readKey(first + j, buffer);
        keepKey(j);
        block.readValue(first + j, buffer);
        keepValue(j);
      }
      for (int row = 0; row < block.rows; row++) {
        int visible = (int) Math.min(count, block.visibleKeys(row) - first);
        if (visible > 0) {
          attend(row, visible);
        }
      }
    }
    for (int row = 0; row < block.rows; row++) {
      double lse = Double.NEGATIVE_INFINITY;
      if (block.visibleKeys(row) == 0) {
        Arrays.fill(buffer, 0);
      } else {
        lse = finish(row);
      }
      block.writeOutput(row, buffer);
      block.writeLse(row, lse);
    }
  }
}
