package org.attn4j;

import java.util.Arrays;

/**
 * An order of the tokens of a picture or a video in which neighbours in the sequence are neighbours
 * in the picture. Sparsity lives on it: blocks of similar tokens can be predicted and left out
 * (SpargeAttn, arXiv:2502.18137, section 3.7). Attention doesn't mind the order, as long as q, k
 * and v have the same one and the output is put back.
 *
 * <p>Tokens are numbered in raster order: the last size runs fastest. Immutable.
 */
public final class TokenOrder {
  private static final int MAX_BITS = 21; // of a coordinate: three of them fit a long

  private final int[] order;
  private final int[] inverse;

  private TokenOrder(int[] order) {
    this.order = order;
    inverse = new int[order.length];
    for (int i = 0; i < order.length; i++) {
      inverse[order[i]] = i;
    }
  }

  /**
   * {@return tiles of a picture in raster order, and the tokens of each tile in raster order} Tiles
   * at the right and lower edge are cut off.
   *
   * @param height of the picture, in tokens
   * @param width of the picture, in tokens
   * @param tileHeight in tokens
   * @param tileWidth in tokens
   */
  public static TokenOrder tiles(int height, int width, int tileHeight, int tileWidth) {
    checkSizes(height, width);
    checkSizes(tileHeight, tileWidth);
    int[] order = new int[height * width];
    int n = 0;
    for (int y0 = 0; y0 < height; y0 += tileHeight) {
      for (int x0 = 0; x0 < width; x0 += tileWidth) {
        for (int y = y0; y < Math.min(y0 + tileHeight, height); y++) {
          for (int x = x0; x < Math.min(x0 + tileWidth, width); x++) {
            order[n++] = y * width + x;
          }
        }
      }
    }
    return new TokenOrder(order);
  }

  /**
   * {@return the Hilbert curve through a picture of any size}
   *
   * @param height of the picture, in tokens
   * @param width of the picture, in tokens
   */
  public static TokenOrder hilbert(int height, int width) {
    return hilbert(new int[] {height, width});
  }

  /**
   * {@return the Hilbert curve through a video of any size}
   *
   * @param frames of the video
   * @param height of the picture, in tokens
   * @param width of the picture, in tokens
   */
  public static TokenOrder hilbert(int frames, int height, int width) {
    return hilbert(new int[] {frames, height, width});
  }

  // The curve of the smallest enclosing cube of 2^bits, without the points outside the grid.
  private static TokenOrder hilbert(int[] sizes) {
    int tokens = checkSizes(sizes);
    int bits = 1;
    for (int size : sizes) {
      bits = Math.max(bits, Integer.SIZE - Integer.numberOfLeadingZeros(size - 1));
    }
    if (bits > MAX_BITS) {
      throw new InvalidAttentionArgumentException(
          "sizes are " + Arrays.toString(sizes) + "; up to 2^" + MAX_BITS + " each are accepted");
    }
    long[] position = new long[tokens];
    Integer[] order = new Integer[tokens];
    int[] point = new int[sizes.length];
    for (int i = 0; i < tokens; i++) {
      int rest = i;
      for (int d = sizes.length - 1; d >= 0; d--) {
        point[d] = rest % sizes[d];
        rest /= sizes[d];
      }
      position[i] = positionOnCurve(point, bits);
      order[i] = i;
    }
    Arrays.sort(order, (a, b) -> Long.compare(position[a], position[b]));
    return new TokenOrder(Arrays.stream(order).mapToInt(Integer::intValue).toArray());
  }

  // J. Skilling, Programming the Hilbert curve, AIP Conf. Proc. 707 (2004): the coordinates become,
  // in place, the bits of the position, spread over the coordinates from the highest bit down.
  private static long positionOnCurve(int[] x, int bits) {
    int n = x.length;
    for (int q = 1 << (bits - 1); q > 1; q >>= 1) {
      int p = q - 1;
      for (int i = 0; i < n; i++) {
        if ((x[i] & q) != 0) {
          x[0] ^= p;
        } else {
          int t = (x[0] ^ x[i]) & p;
          x[0] ^= t;
          x[i] ^= t;
        }
      }
    }
    for (int i = 1; i < n; i++) {
      x[i] ^= x[i - 1];
    }
    int t = 0;
    for (int q = 1 << (bits - 1); q > 1; q >>= 1) {
      if ((x[n - 1] & q) != 0) {
        t ^= q - 1;
      }
    }
    long position = 0;
    for (int i = 0; i < n; i++) {
      x[i] ^= t;
    }
    for (int bit = bits - 1; bit >= 0; bit--) {
      for (int i = 0; i < n; i++) {
        position = position << 1 | (x[i] >> bit & 1);
      }
    }
    return position;
  }

  /**
   * {@return this order for a part of a sequence; the tokens before and behind it keep their
   * places}
   *
   * @param before how many tokens stand before the part
   * @param length of the sequence
   * @throws InvalidAttentionArgumentException if the part doesn't fit into it
   */
  public TokenOrder within(int before, int length) {
    if (before < 0 || length - order.length < before) {
      throw new InvalidAttentionArgumentException(
          "length is "
              + length
              + "; "
              + order.length
              + " tokens behind "
              + before
              + " others are to fit into it");
    }
    int[] all = new int[length];
    for (int i = 0; i < length; i++) {
      boolean inside = i >= before && i < before + order.length;
      all[i] = inside ? before + order[i - before] : i;
    }
    return new TokenOrder(all);
  }

  private static int checkSizes(int... sizes) {
    long tokens = 1;
    for (int size : sizes) {
      tokens *= size > 0 && tokens <= Integer.MAX_VALUE ? size : 0;
    }
    if (tokens <= 0 || tokens > Integer.MAX_VALUE) {
      throw new InvalidAttentionArgumentException(
          "sizes are "
              + Arrays.toString(sizes)
              + "; positive sizes with a product of at most 2^31 - 1 are accepted");
    }
    return (int) tokens;
  }

  /** {@return the number of tokens} */
  public int size() {
    return order.length;
  }

  /**
   * {@return which token comes {@code i}-th}
   *
   * @param i the place, from 0
   */
  public int token(int i) {
    return order[i];
  }

  /**
   * {@return at which place a token comes}
   *
   * @param token the token, in raster order
   */
  public int place(int token) {
    return inverse[token];
  }

  /** {@return the tokens in this order: a copy} */
  public int[] order() {
    return order.clone();
  }

  /** {@return each token's place: a copy} Gathering by it puts an output back into raster order. */
  public int[] inverse() {
    return inverse.clone();
  }

  /**
   * {@return rows of {@code channels} values in raster order, brought into this order}
   *
   * @param rows one row after the other
   * @param channels values per row
   */
  public float[] arrange(float[] rows, int channels) {
    return gather(rows, channels, order);
  }

  /**
   * {@return rows of {@code channels} values in this order, put back into raster order}
   *
   * @param rows one row after the other
   * @param channels values per row
   */
  public float[] restore(float[] rows, int channels) {
    return gather(rows, channels, inverse);
  }

  private static float[] gather(float[] rows, int channels, int[] from) {
    if (channels < 1 || rows.length != (long) from.length * channels) {
      throw new InvalidAttentionArgumentException(
          "rows has "
              + rows.length
              + " values; "
              + from.length
              + " tokens of "
              + channels
              + " channels are needed");
    }
    float[] result = new float[rows.length];
    for (int i = 0; i < from.length; i++) {
      System.arraycopy(rows, from[i] * channels, result, i * channels, channels);
    }
    return result;
  }
}
