package org.attn4j.samples;

import java.util.Arrays;
import org.attn4j.BlockGrid;

/**
 * Which blocks of the attention matrix are computed: a row of the map for each block of queries, a
 * column for each block of keys. Immutable.
 */
public final class BlockMap {
  /** The colour of a block that is computed: yellow. */
  static final float[] COMPUTED = {1.00f, 0.82f, 0.40f};

  /** The colour of a block that is left out: dark blue. */
  static final float[] LEFT_OUT = {0.15f, 0.25f, 0.31f};

  private final BlockGrid grid;
  private final boolean[] computed; // [queryBlocks][keyBlocks]

  /** Takes a copy of {@code computed}, which is {@code [queryBlocks][keyBlocks]}. */
  public BlockMap(BlockGrid grid, boolean[] computed) {
    if (computed.length != grid.queryBlocks() * grid.keyBlocks()) {
      throw new IllegalArgumentException(
          "computed has "
              + computed.length
              + " values; one for each block of "
              + grid
              + " is needed");
    }
    this.grid = grid;
    this.computed = computed.clone();
  }

  /** What SpargeAttn reports: a number for each block, 0 if it was left out. */
  public static BlockMap of(BlockGrid grid, float[] report) {
    boolean[] computed = new boolean[report.length];
    for (int i = 0; i < report.length; i++) {
      computed[i] = report[i] != 0;
    }
    return new BlockMap(grid, computed);
  }

  /** The map with every block computed. */
  public static BlockMap full(BlockGrid grid) {
    boolean[] computed = new boolean[(int) (grid.queryBlocks() * grid.keyBlocks())];
    Arrays.fill(computed, true);
    return new BlockMap(grid, computed);
  }

  public BlockGrid grid() {
    return grid;
  }

  public int rows() {
    return (int) grid.queryBlocks();
  }

  public int columns() {
    return (int) grid.keyBlocks();
  }

  public boolean computed(int queryBlock, int keyBlock) {
    return computed[queryBlock * columns() + keyBlock];
  }

  /** The share of blocks that are left out. */
  public double sparsity() {
    int left = 0;
    for (boolean block : computed) {
      left += block ? 0 : 1;
    }
    return (double) left / computed.length;
  }

  /** The share of blocks that {@code other}, a map of the same grid, treats alike. */
  public double agreement(BlockMap other) {
    if (!grid.equals(other.grid)) {
      throw new IllegalArgumentException("the other map is of " + other.grid + "; this of " + grid);
    }
    int alike = 0;
    for (int i = 0; i < computed.length; i++) {
      alike += computed[i] == other.computed[i] ? 1 : 0;
    }
    return (double) alike / computed.length;
  }

  /**
   * The map as a picture, one rectangle for each block, in the proportions of the attention matrix:
   * yellow if it is computed, dark blue if not. At least {@code side} pixels wide.
   */
  public Picture picture(int side) {
    int cellWidth = Math.max(1, (side + columns() - 1) / columns());
    int cellHeight =
        Math.max(1, Math.round((float) cellWidth * grid.queryBlock() / grid.keyBlock()));
    int width = columns() * cellWidth;
    float[] values = new float[rows() * cellHeight * width * Picture.CHANNELS];
    for (int i = 0; i < values.length; i++) {
      int pixel = i / Picture.CHANNELS;
      boolean computed = computed(pixel / width / cellHeight, pixel % width / cellWidth);
      values[i] = (computed ? COMPUTED : LEFT_OUT)[i % Picture.CHANNELS];
    }
    return Picture.of(width, rows() * cellHeight, values);
  }
}
