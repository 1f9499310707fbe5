package org.attn4j;

import java.util.Arrays;

/** Masks that follow from positions. */
final class MaskRules {
  private MaskRules() {}

  /** Where a query stands among the keys. */
  private static long position(AttentionDims dims, long query) {
    return query + dims.keys() - dims.queries();
  }

  private static long add(long a, long b) {
    long sum = a + b;
    return b >= 0 && sum < a ? Long.MAX_VALUE : sum;
  }

  /** A rule that shows or hides keys. */
  interface Shows extends MaskPart {
    boolean shows(AttentionDims dims, long query, long key);

    @Override
    default void addTo(Keys keys, double[] addends) {
      for (int j = 0; j < keys.count(); j++) {
        if (!shows(keys.dims(), keys.query(), keys.firstKey() + j)) {
          addends[j] = Double.NEGATIVE_INFINITY;
        }
      }
    }

    @Override
    default void check(AttentionDims dims) {}
  }

  /** The keys of a run. */
  interface ShowsRun extends Shows {
    @Override
    default boolean shows(AttentionDims dims, long query, long key) {
      return key >= firstKey(dims, query) && key < endKey(dims, query);
    }
  }

  /** The keys around the query's position, and some first ones: what GPU kernels read. */
  interface Run extends ShowsRun {
    /** Keys before the position; Long.MAX_VALUE: all. */
    long left();

    /** Keys behind it, likewise. */
    long right();

    /** Keys that are seen besides, from the first one on. */
    long prefix();
  }

  record Window(long left, long right) implements Run {
    @Override
    public long prefix() {
      return 0;
    }

    @Override
    public long firstKey(AttentionDims dims, long query) {
      long position = position(dims, query);
      return position <= left ? 0 : position - left; // left may be as large as numbers are
    }

    @Override
    public long endKey(AttentionDims dims, long query) {
      return Math.min(dims.keys(), add(position(dims, query) + 1, right));
    }

    @Override
    public String toString() {
      return "sliding window " + left + "/" + right;
    }
  }

  record PrefixLm(long prefix) implements Run {
    @Override
    public long left() {
      return Long.MAX_VALUE;
    }

    @Override
    public long right() {
      return 0;
    }

    @Override
    public long endKey(AttentionDims dims, long query) {
      return Math.min(dims.keys(), Math.max(prefix, position(dims, query) + 1));
    }

    @Override
    public String toString() {
      return "prefix-LM " + prefix;
    }
  }

  /** Ends of the documents among queries and keys. */
  record BlockDiagonal(long[] queryEnds, long[] keyEnds) implements ShowsRun {
    static BlockDiagonal of(long[] queryLengths, long[] keyLengths) {
      return new BlockDiagonal(ends(queryLengths), ends(keyLengths));
    }

    private static long[] ends(long[] lengths) {
      long[] ends = lengths.clone();
      Arrays.parallelPrefix(ends, Math::addExact);
      return ends;
    }

    @Override
    public void check(AttentionDims dims) {
      check("queries", queryEnds, dims.queries());
      check("keys", keyEnds, dims.keys());
    }

    private static void check(String what, long[] ends, long wanted) {
      long total = ends[ends.length - 1];
      if (total != wanted) {
        throw new InvalidAttentionArgumentException(
            "mask.blockDiagonal has documents of "
                + total
                + " "
                + what
                + " in all; "
                + wanted
                + " is accepted");
      }
    }

    /** The document of a query: the first that ends behind it. */
    private int document(long query) {
      int low = 0;
      int high = queryEnds.length - 1;
      while (low < high) {
        int middle = (low + high) >>> 1;
        if (queryEnds[middle] > query) {
          high = middle;
        } else {
          low = middle + 1;
        }
      }
      return low;
    }

    @Override
    public long firstKey(AttentionDims dims, long query) {
      int document = document(query);
      return document == 0 ? 0 : keyEnds[document - 1];
    }

    @Override
    public long endKey(AttentionDims dims, long query) {
      return keyEnds[document(query)];
    }

    @Override
    public String toString() {
      return "block-diagonal of " + keyEnds.length + " documents";
    }
  }

  record Dilated(long left, long right, long step) implements Shows {
    @Override
    public boolean shows(AttentionDims dims, long query, long key) {
      long distance = key - position(dims, query);
      return distance % step == 0 && distance / step >= -left && distance / step <= right;
    }

    @Override
    public String toString() {
      return "dilated window " + left + "/" + right + " of step " + step;
    }
  }

  record Neighbourhood(int[] grid, int[] window) implements Shows {
    static Neighbourhood of(int[] grid, int[] window) {
      if (grid == null || grid.length < 1 || grid.length > 3) {
        throw new InvalidAttentionArgumentException(
            "grid is " + Arrays.toString(grid) + "; 1 to 3 sizes are needed");
      }
      if (window == null || window.length != grid.length) {
        throw new InvalidAttentionArgumentException(
            "window is "
                + Arrays.toString(window)
                + "; as many sizes as the grid "
                + Arrays.toString(grid)
                + " has are needed");
      }
      for (int i = 0; i < grid.length; i++) {
        if (grid[i] < 1) {
          throw new InvalidAttentionArgumentException(
              "grid[" + i + "] is " + grid[i] + "; 1 or more is accepted");
        }
        if (window[i] < 1 || window[i] > grid[i]) {
          throw new InvalidAttentionArgumentException(
              "window[" + i + "] is " + window[i] + "; 1 to " + grid[i] + " are accepted");
        }
      }
      return new Neighbourhood(grid.clone(), window.clone());
    }

    @Override
    public void check(AttentionDims dims) {
      long cells = 1;
      for (int size : grid) {
        cells *= size;
      }
      if (dims.queries() != cells || dims.keys() != cells) {
        throw new InvalidAttentionArgumentException(
            "mask.neighbourhood has a grid of "
                + cells
                + " cells; it is for as many queries and keys, and there are "
                + dims.queries()
                + " and "
                + dims.keys());
      }
    }

    @Override
    public boolean shows(AttentionDims dims, long query, long key) {
      long q = query;
      long k = key;
      for (int i = grid.length - 1; i >= 0; i--) {
        long at = q % grid[i];
        long first = Math.max(0, Math.min(at - window[i] / 2, grid[i] - window[i]));
        long distance = k % grid[i] - first;
        if (distance < 0 || distance >= window[i]) {
          return false;
        }
        q /= grid[i];
        k /= grid[i];
      }
      return true;
    }

    @Override
    public String toString() {
      return "neighbourhood " + Arrays.toString(window) + " on " + Arrays.toString(grid);
    }
  }

  record Alibi(float[] slopes) implements MaskPart {
    @Override
    public void check(AttentionDims dims) {
      if (slopes.length != dims.headsQ()) {
        throw new InvalidAttentionArgumentException(
            "mask.alibi has "
                + slopes.length
                + " slopes; one per query head is needed, "
                + dims.headsQ());
      }
    }

    @Override
    public boolean isPerHead() {
      return true;
    }

    @Override
    public void addTo(Keys keys, double[] addends) {
      double slope = slopes[(int) keys.head()];
      long position = position(keys.dims(), keys.query());
      for (int j = 0; j < keys.count(); j++) {
        MaskPart.add(addends, j, -slope * Math.abs(position - (keys.firstKey() + j)));
      }
    }

    @Override
    public String toString() {
      return "ALiBi of " + slopes.length + " slopes";
    }
  }
}
