package org.attn4j.server.diffusion;

/**
 * A diffusion model: says in which direction a noisy picture changes with the angle of its noise.
 */
public interface Painter extends AutoCloseable {
  /**
   * The derivative of {@code x = cos(phi) picture + sin(phi) noise} by phi.
   *
   * @param x {@code [3][height][width]}
   * @param height in pixels, even
   * @param width in pixels, even
   * @param phi radians, 0 to pi / 2
   * @param words {@link #MAX_WORDS} tokens, 0 for none
   * @return {@code [3][height][width]}
   */
  float[] velocity(float[] x, int height, int width, double phi, int[] words);

  /** How many words a prompt may have. */
  int MAX_WORDS = 4;

  /** Who computes attention, such as {@code cpu}. */
  String backend();

  /** How, in a few words. */
  String kernel();

  /** The share of self-attention's blocks that was left out so far; 0 for dense attention. */
  double leftOut();

  /** Whether a GPU paints. */
  default boolean onGpu() {
    return false;
  }

  @Override
  void close();
}
