package org.attn4j.server.diffusion;

import java.util.Arrays;
import java.util.stream.IntStream;

/**
 * The layers that a transformer has beside attention. Arrays are row-major, {@code [row][channel]}.
 */
final class Layers {
  static final int HEAD_DIM = 64;

  private static final int ROWS = 32; // at a time, to read the weights once for all of them
  private static final double EPSILON = 1e-6;

  private Layers() {}

  /**
   * A linear layer.
   *
   * @param transposed weights, {@code [in][out]}, so that the inner loop runs over neighbours
   * @param bias {@code [out]}, or null
   */
  record Linear(int in, int out, float[] transposed, float[] bias) {
    /** Takes weights as PyTorch has them, {@code [out][in]}. */
    static Linear of(int in, int out, float[] weight, float[] bias) {
      float[] transposed = new float[weight.length];
      for (int i = 0; i < weight.length; i++) {
        transposed[i % in * out + i / in] = weight[i];
      }
      return new Linear(in, out, transposed, bias);
    }

    /** {@code [rows][in]} to {@code [rows][out]}. */
    float[] apply(float[] x) {
      int rows = x.length / in;
      float[] y = new float[rows * out];
      blocks(rows).forEach(block -> apply(x, y, block * ROWS, Math.min((block + 1) * ROWS, rows)));
      return y;
    }

    private void apply(float[] x, float[] y, int from, int to) {
      float[] sums = new float[out];
      for (int row = from; row < to; row++) {
        if (bias == null) {
          Arrays.fill(sums, 0);
        } else {
          System.arraycopy(bias, 0, sums, 0, out);
        }
        int i = 0;
        for (; i + 4 <= in; i += 4) {
          add(x, row * in + i, i * out, sums);
        }
        for (; i < in; i++) {
          float value = x[row * in + i];
          for (int o = 0; o < out; o++) {
            sums[o] += value * transposed[i * out + o];
          }
        }
        System.arraycopy(sums, 0, y, row * out, out);
      }
    }

    // Four inputs at a time: one load and store of a sum for four products.
    private void add(float[] x, int at, int weights, float[] sums) {
      float x0 = x[at];
      float x1 = x[at + 1];
      float x2 = x[at + 2];
      float x3 = x[at + 3];
      for (int o = 0; o < sums.length; o++) {
        int w = weights + o;
        sums[o] +=
            x0 * transposed[w]
                + x1 * transposed[w + sums.length]
                + x2 * transposed[w + 2 * sums.length]
                + x3 * transposed[w + 3 * sums.length];
      }
    }
  }

  private static IntStream blocks(int rows) {
    return IntStream.range(0, (rows + ROWS - 1) / ROWS).parallel();
  }

  /** Every row less its mean, over its standard deviation, times (1 + scale), plus shift. */
  static float[] norm(float[] x, int channels, float[] scale, float[] shift) {
    float[] y = new float[x.length];
    blocks(x.length / channels)
        .forEach(
            block -> {
              int end = Math.min(x.length, (block + 1) * ROWS * channels);
              for (int row = block * ROWS * channels; row < end; row += channels) {
                norm(x, y, row, scale, shift, channels);
              }
            });
    return y;
  }

  private static void norm(
      float[] x, float[] y, int row, float[] scale, float[] shift, int channels) {
    double mean = 0;
    for (int c = 0; c < channels; c++) {
      mean += x[row + c];
    }
    mean /= channels;
    double square = 0;
    for (int c = 0; c < channels; c++) {
      square += (x[row + c] - mean) * (x[row + c] - mean);
    }
    double factor = 1 / Math.sqrt(square / channels + EPSILON);
    for (int c = 0; c < channels; c++) {
      double value = (x[row + c] - mean) * factor;
      y[row + c] = (float) (scale == null ? value : value * (1 + scale[c]) + shift[c]);
    }
  }

  /** x += gate * y, the gate {@code [channel]}, or 1 if it is null. */
  static void addGated(float[] x, float[] y, float[] gate) {
    int channels = gate == null ? 1 : gate.length;
    for (int i = 0; i < x.length; i++) {
      x[i] += gate == null ? y[i] : gate[i % channels] * y[i];
    }
  }

  static float[] silu(float[] x) {
    float[] y = new float[x.length];
    for (int i = 0; i < x.length; i++) {
      y[i] = (float) (x[i] / (1 + Math.exp(-x[i])));
    }
    return y;
  }

  /** GELU by its approximation with tanh, in place. */
  static void gelu(float[] x) {
    double factor = Math.sqrt(2 / Math.PI);
    blocks(x.length)
        .forEach(
            block -> {
              for (int i = block * ROWS; i < Math.min(x.length, (block + 1) * ROWS); i++) {
                double value = x[i];
                double inner = factor * (value + 0.044715 * value * value * value);
                x[i] = (float) (0.5 * value * (1 + Math.tanh(inner)));
              }
            });
  }

  /**
   * x plus its 3 x 3 neighbourhood, each channel with weights of its own; zeros around the grid.
   *
   * @param x {@code [height][width][channel]}
   * @param weight {@code [3][3][channel]}
   * @param bias {@code [channel]}
   */
  static float[] addNeighbours(float[] x, int height, int width, float[] weight, float[] bias) {
    int channels = bias.length;
    float[] y = new float[x.length];
    IntStream.range(0, height)
        .parallel()
        .forEach(
            row -> {
              for (int column = 0; column < width; column++) {
                int at = (row * width + column) * channels;
                for (int c = 0; c < channels; c++) {
                  y[at + c] = x[at + c] + bias[c];
                }
                for (int i = 0; i < 9; i++) {
                  int otherRow = row + i / 3 - 1;
                  int otherColumn = column + i % 3 - 1;
                  if (otherRow >= 0
                      && otherRow < height
                      && otherColumn >= 0
                      && otherColumn < width) {
                    int other = (otherRow * width + otherColumn) * channels;
                    for (int c = 0; c < channels; c++) {
                      y[at + c] += weight[i * channels + c] * x[other + c];
                    }
                  }
                }
              }
            });
    return y;
  }
}
