package org.attn4j.testing;

import java.util.Arrays;
import java.util.Random;
import org.attn4j.AttentionMask;
import org.attn4j.DType;
import org.attn4j.HostTensor;
import org.attn4j.TensorShape;

/**
 * A random mask for given sizes: as the library takes it, and as a function that says the same and
 * shares nothing with it.
 */
public final class MaskCase {
  /** What the mask is made of. */
  public enum Kind {
    /** Keys per batch entry. */
    KEYS,
    /** A tensor of pairs. */
    PAIRS,
    /** A tensor that is added. */
    BIAS,
    /** A sliding window. */
    WINDOW,
    /** A prefix that sees itself whole. */
    PREFIX,
    /** Documents. */
    BLOCKS,
    /** A window with gaps. */
    DILATED,
    /** A window on a grid. */
    NEIGHBOURHOOD,
    /** Slopes per head. */
    ALIBI
  }

  private final Random random;
  private final int batch;
  private final int heads;
  private final int queries;
  private final int keys;
  private String description = "";

  /** The mask. */
  public final AttentionMask mask;

  /** The same as a function. */
  public final NaiveAttention.Addend function;

  private record Both(AttentionMask mask, NaiveAttention.Addend function) {
    Both and(Both other) {
      return new Both(
          mask.and(other.mask),
          (b, h, i, j) -> {
            double one = function.of(b, h, i, j);
            double two = other.function.of(b, h, i, j);
            boolean hidden = one == Double.NEGATIVE_INFINITY || two == Double.NEGATIVE_INFINITY;
            return hidden ? Double.NEGATIVE_INFINITY : one + two;
          });
    }
  }

  /** One part of the kind, and sometimes another of any. All sizes are 1 or more. */
  public MaskCase(Random random, Kind kind, int batch, int heads, int queries, int keys) {
    this.random = random;
    this.batch = batch;
    this.heads = heads;
    this.queries = queries;
    this.keys = keys;
    Both both = draw(kind);
    if (random.nextInt(4) == 0) {
      both = both.and(draw(Kind.values()[random.nextInt(Kind.values().length)]));
    }
    mask = both.mask;
    function = both.function;
  }

  private Both draw(Kind kind) {
    description += " " + kind;
    return switch (kind) {
      case KEYS -> keys();
      case PAIRS -> pairs();
      case BIAS -> bias();
      case WINDOW -> window();
      case PREFIX -> prefix();
      case BLOCKS -> blocks();
      case DILATED -> dilated();
      case NEIGHBOURHOOD -> queries == keys ? neighbourhood() : window();
      case ALIBI -> alibi();
    };
  }

  private static double hidden(boolean shown) {
    return shown ? 0 : Double.NEGATIVE_INFINITY;
  }

  private Both keys() {
    int rows = random.nextInt(3) == 0 ? 1 : batch;
    byte[] seen = bytes(rows * keys);
    HostTensor tensor = strided(DType.INT8, floats(seen), rows, keys);
    return new Both(
        AttentionMask.keys(tensor),
        (b, h, i, j) -> hidden(seen[(rows == 1 ? 0 : b) * keys + j] != 0));
  }

  /** Any values; one in four masks hides nearly all, and one in eight all. */
  private byte[] bytes(int count) {
    byte[] bytes = new byte[count];
    int shown = new int[] {0, 2, 2, 30, 50, 50, 90, 99}[random.nextInt(8)];
    for (int i = 0; i < count; i++) {
      boolean show = random.nextInt(100) < shown;
      bytes[i] = (byte) (show ? new int[] {1, 1, -1, 127, -128}[random.nextInt(5)] : 0);
    }
    return bytes;
  }

  private static float[] floats(byte[] bytes) {
    float[] values = new float[bytes.length];
    for (int i = 0; i < bytes.length; i++) {
      values[i] = bytes[i];
    }
    return values;
  }

  /** Sizes with some dimensions broadcast. */
  private int[] sizes() {
    int[] all = {batch, heads, queries, keys};
    for (int i = 0; i < 4; i++) {
      all[i] = random.nextInt(i == 3 ? 8 : 3) == 0 ? 1 : all[i];
    }
    return all;
  }

  private static int index(int[] sizes, int... at) {
    int index = 0;
    for (int i = 0; i < 4; i++) {
      index = index * sizes[i] + (sizes[i] == 1 ? 0 : at[i]);
    }
    return index;
  }

  private Both pairs() {
    int[] s = sizes();
    byte[] seen = bytes(s[0] * s[1] * s[2] * s[3]);
    HostTensor tensor = strided(DType.INT8, floats(seen), s[0], s[1], s[2], s[3]);
    return new Both(
        AttentionMask.pairs(tensor), (b, h, i, j) -> hidden(seen[index(s, b, h, i, j)] != 0));
  }

  private Both bias() {
    int[] s = sizes();
    DType[] types = {DType.FLOAT16, DType.BFLOAT16, DType.FLOAT32};
    DType type = types[random.nextInt(3)];
    float[] values = Gaussian.values(random, s[0] * s[1] * s[2] * s[3]);
    int infinite = random.nextInt(3);
    for (int i = 0; i < values.length; i++) {
      values[i] = random.nextInt(4) < infinite ? Float.NEGATIVE_INFINITY : values[i] * 3;
    }
    HostTensor tensor = strided(type, values, s[0], s[1], s[2], s[3]);
    float[] rounded = tensor.toFloatArray();
    return new Both(AttentionMask.bias(tensor), (b, h, i, j) -> rounded[index(s, b, h, i, j)]);
  }

  /** A view of any order of dimensions, with gaps, that holds the values in row-major order. */
  private HostTensor strided(DType dtype, float[] values, long... sizes) {
    long[] strides = new long[sizes.length];
    Integer[] order = new Integer[sizes.length];
    Arrays.setAll(order, i -> i);
    java.util.Collections.shuffle(Arrays.asList(order), random);
    long stride = 1 + random.nextInt(2);
    for (int dimension : order) {
      strides[dimension] = stride;
      stride = stride * sizes[dimension] + random.nextInt(3);
    }
    HostTensor storage = HostTensor.allocate(dtype, stride);
    HostTensor view =
        HostTensor.view(storage.memory(), 0, dtype, TensorShape.strided(sizes, strides));
    view.copyFrom(values);
    return view;
  }

  private long reach() {
    return random.nextInt(6) == 0 ? Long.MAX_VALUE : random.nextInt(keys + 2);
  }

  private Both window() {
    long left = reach();
    long right = random.nextInt(3) == 0 ? 0 : reach();
    return new Both(
        AttentionMask.slidingWindow(left, right),
        (b, h, i, j) -> {
          long distance = j - (i + keys - queries);
          return hidden(distance >= -left && distance <= right);
        });
  }

  private Both prefix() {
    int prefix = random.nextInt(keys + 3);
    return new Both(
        AttentionMask.prefixLm(prefix),
        (b, h, i, j) -> hidden(j < prefix || j <= i + keys - queries));
  }

  private Both blocks() {
    int count = 1 + random.nextInt(6);
    int[] queryOf = documents(count, queries);
    boolean same = queries == keys && random.nextBoolean();
    int[] keyOf = same ? queryOf : documents(count, keys);
    long[] queryLengths = lengths(count, queryOf);
    AttentionMask made =
        same
            ? AttentionMask.blockDiagonal(queryLengths)
            : AttentionMask.blockDiagonal(queryLengths, lengths(count, keyOf));
    return new Both(made, (b, h, i, j) -> hidden(queryOf[i] == keyOf[j]));
  }

  /** The document of each token. */
  private int[] documents(int count, int tokens) {
    return random.ints(tokens, 0, count).sorted().toArray();
  }

  private static long[] lengths(int count, int[] documents) {
    long[] lengths = new long[count];
    for (int document : documents) {
      lengths[document]++;
    }
    return lengths;
  }

  private Both dilated() {
    int left = random.nextInt(5);
    int right = random.nextInt(5);
    int step = 1 + random.nextInt(4);
    return new Both(
        AttentionMask.dilated(left, right, step),
        (b, h, i, j) -> {
          for (int n = -left; n <= right; n++) {
            if (i + keys - queries + n * step == j) {
              return 0;
            }
          }
          return Double.NEGATIVE_INFINITY;
        });
  }

  private Both neighbourhood() {
    int[] grid = grid(queries);
    int[] window = new int[grid.length];
    for (int d = 0; d < grid.length; d++) {
      window[d] = 1 + random.nextInt(grid[d]);
    }
    return new Both(
        AttentionMask.neighbourhood(grid, window),
        (b, h, i, j) -> hidden(near(grid, window, i, j)));
  }

  /** Sizes whose product is the number of tokens. */
  private int[] grid(int tokens) {
    int rows = 1;
    for (int d = 2; d * d <= tokens; d++) {
      rows = tokens % d == 0 ? d : rows;
    }
    return switch (random.nextInt(3)) {
      case 0 -> new int[] {tokens};
      case 1 -> new int[] {rows, tokens / rows};
      default -> new int[] {1, tokens / rows, rows};
    };
  }

  /** By the paper's words: the window nearest to the token that lies on the grid. */
  private static boolean near(int[] grid, int[] window, int i, int j) {
    int span = 1;
    for (int d = grid.length - 1; d >= 0; d--) {
      int at = i / span % grid[d];
      int other = j / span % grid[d];
      int first = at - window[d] / 2;
      while (first < 0) {
        first++;
      }
      while (first + window[d] > grid[d]) {
        first--;
      }
      if (other < first || other >= first + window[d]) {
        return false;
      }
      span *= grid[d];
    }
    return true;
  }

  private Both alibi() {
    float[] slopes = new float[heads];
    for (int h = 0; h < heads; h++) {
      slopes[h] = random.nextFloat() / 2;
    }
    return new Both(
        AttentionMask.alibi(slopes),
        (b, h, i, j) -> -(double) slopes[h] * Math.abs(i + keys - queries - j));
  }

  @Override
  public String toString() {
    return description.trim() + ": " + mask;
  }
}
