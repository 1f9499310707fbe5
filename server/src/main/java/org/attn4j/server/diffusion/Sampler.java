package org.attn4j.server.diffusion;

import java.util.Locale;
import java.util.Random;

/** How noise becomes a picture in a number of steps. */
public enum Sampler {
  /** DDIM without noise of its own (arXiv:2010.02502, eta 0); clips what it expects to see. */
  DDIM {
    @Override
    void step(float[] x, float[] v, double here, double there) {
      for (int i = 0; i < x.length; i++) {
        double clean = Math.cos(here) * x[i] - Math.sin(here) * v[i];
        clean = Math.max(-1, Math.min(1, clean));
        double noise = (x[i] - Math.cos(here) * clean) / Math.sin(here);
        x[i] = (float) (Math.cos(there) * clean + Math.sin(there) * noise);
      }
    }
  },
  /** Euler's steps along the flow of the probability. */
  EULER {
    @Override
    void step(float[] x, float[] v, double here, double there) {
      for (int i = 0; i < x.length; i++) {
        x[i] += (float) ((there - here) * v[i]);
      }
    }
  };

  private static final double START = 0.995; // of the way from picture to noise
  private static final double USUAL_SIDE = 64;
  private static final int[] NO_WORDS = new int[Painter.MAX_WORDS];

  /** Hears of each step that was done; what it throws ends the sampling. */
  public interface Listener {
    /**
     * @param number from 1
     * @param millis what the step took
     */
    void done(int number, double millis);
  }

  /** Moves {@code x} from the angle {@code here} to {@code there}, which is smaller. */
  abstract void step(float[] x, float[] v, double here, double there);

  /** As the API calls it. */
  public String label() {
    return name().toLowerCase(Locale.ROOT);
  }

  /** steps + 1 angles, from almost noise alone to the picture. */
  static double[] angles(int steps, int side) {
    double[] angles = new double[steps + 1];
    for (int i = 0; i <= steps; i++) {
      double t = START * (steps - i) / steps;
      angles[i] = Math.atan(Math.tan(t * Math.PI / 2) * side / USUAL_SIDE);
    }
    return angles;
  }

  /** Noise of {@code [3][side][side]}: the same for the same seed. */
  public static float[] noise(int side, long seed) {
    Random random = new Random(seed);
    float[] noise = new float[3 * side * side];
    for (int i = 0; i < noise.length; i++) {
      noise[i] = (float) random.nextGaussian();
    }
    return noise;
  }

  /**
   * Turns {@code noise} into a picture with values from -1 to 1.
   *
   * @param words {@link Painter#MAX_WORDS} tokens
   * @param guidance 1 follows the words as they are; more exaggerates them, for twice the work
   */
  public float[] sample(
      Painter painter,
      float[] noise,
      int side,
      int[] words,
      int steps,
      double guidance,
      Listener listener) {
    float[] x = noise.clone();
    double[] angles = angles(steps, side);
    for (int i = 0; i < steps; i++) {
      long start = System.nanoTime();
      float[] v = painter.velocity(x, side, side, angles[i], words);
      if (guidance != 1) {
        float[] without = painter.velocity(x, side, side, angles[i], NO_WORDS);
        for (int j = 0; j < v.length; j++) {
          v[j] = (float) (without[j] + guidance * (v[j] - without[j]));
        }
      }
      step(x, v, angles[i], angles[i + 1]);
      listener.done(i + 1, (System.nanoTime() - start) / 1e6);
    }
    return x;
  }
}
