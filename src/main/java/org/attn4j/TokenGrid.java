package org.attn4j;

import java.util.Objects;

/**
 * A picture or a video among the tokens of a sequence: tokens in raster order, the width running
 * fastest, that other tokens (a text, in joint attention) may stand before and behind. With it
 * SpargeAttn takes the tokens of the grid along a Hilbert curve, so that its blocks hold neighbours
 * ({@link AttentionOptions#tokenGrid}). Immutable.
 */
public final class TokenGrid {
  private final int frames;
  private final int height;
  private final int width;
  private final int before;

  private TokenGrid(int frames, int height, int width, int before) {
    this.frames = frames;
    this.height = height;
    this.width = width;
    this.before = before;
  }

  /**
   * A grid that the sequence begins with.
   *
   * @param frames of the video; 1 for a picture
   * @param height in tokens
   * @param width in tokens
   * @return the grid
   * @throws InvalidAttentionArgumentException if a size isn't positive, or there are 2^31 tokens
   */
  public static TokenGrid of(int frames, int height, int width) {
    boolean positive = frames > 0 && height > 0 && width > 0;
    if (!positive || (double) frames * height * width > Integer.MAX_VALUE) {
      throw new InvalidAttentionArgumentException(
          "tokenGrid is "
              + sizes(frames, height, width)
              + "; positive sizes with a product of at most 2^31 - 1 are accepted");
    }
    return new TokenGrid(frames, height, width, 0);
  }

  /**
   * {@return the same grid behind other tokens}
   *
   * @param tokens how many stand before the grid; those behind it are what the sequence has left
   */
  public TokenGrid behind(int tokens) {
    if (tokens < 0) {
      throw new InvalidAttentionArgumentException(
          "tokens is " + tokens + "; 0 or more before the grid are accepted");
    }
    return new TokenGrid(frames, height, width, tokens);
  }

  /** {@return how many tokens stand before the grid} */
  public int before() {
    return before;
  }

  /** {@return the tokens of the grid} */
  public int size() {
    return frames * height * width;
  }

  /**
   * {@return the order of all tokens of a sequence: those of the grid along the curve, the others
   * in their places}
   *
   * @param length of the sequence
   * @throws InvalidAttentionArgumentException if the grid doesn't fit into it
   */
  public TokenOrder order(int length) {
    if (!fits(length)) {
      throw new InvalidAttentionArgumentException(
          "length is " + length + "; tokenGrid needs at least " + ((long) before + size()));
    }
    TokenOrder curve =
        frames == 1 ? TokenOrder.hilbert(height, width) : TokenOrder.hilbert(frames, height, width);
    return curve.within(before, length);
  }

  /**
   * {@return whether a sequence has room for the grid and what stands before it}
   *
   * @param length of the sequence
   */
  public boolean fits(long length) {
    return (long) before + size() <= length;
  }

  private static String sizes(int frames, int height, int width) {
    return frames + " x " + height + " x " + width;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof TokenGrid that
        && frames == that.frames
        && height == that.height
        && width == that.width
        && before == that.before;
  }

  @Override
  public int hashCode() {
    return Objects.hash(frames, height, width, before);
  }

  @Override
  public String toString() {
    return sizes(frames, height, width) + (before == 0 ? "" : " behind " + before);
  }
}
