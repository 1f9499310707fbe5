package org.attn4j.server.diffusion;

/**
 * Exact attention over queries and keys that were rounded as SageAttention rounds them (INT8, K
 * less its mean over the tokens; arXiv:2410.02367, section 4): what the rounding does to a picture,
 * where no GPU is. P V stays in FP32. Its time means nothing.
 */
final class Int8Attention extends SelfAttention {
  private static final int QUERY_BLOCK = 128; // tokens that share a scale
  private static final int KEY_BLOCK = 64;

  Int8Attention() {
    super(null);
  }

  @Override
  float[] dense(float[] q, float[] k, float[] v, int heads) {
    int row = heads * Layers.HEAD_DIM;
    float[] smooth = k.clone();
    for (int channel = 0; channel < row; channel++) {
      double sum = 0;
      for (int i = channel; i < k.length; i += row) {
        sum += k[i];
      }
      float mean = (float) (sum * row / k.length);
      for (int i = channel; i < k.length; i += row) {
        smooth[i] -= mean;
      }
    }
    return super.dense(rounded(q, heads, QUERY_BLOCK), rounded(smooth, heads, KEY_BLOCK), v, heads);
  }

  /** {@code [token][head][64]} to multiples of a scale per block and head, 127 of them a side. */
  static float[] rounded(float[] x, int heads, int block) {
    int row = heads * Layers.HEAD_DIM;
    int tokens = x.length / row;
    float[] y = new float[x.length];
    for (int first = 0; first < tokens; first += block) {
      int end = Math.min(tokens, first + block);
      for (int head = 0; head < heads; head++) {
        float most = 0;
        for (int i = 0; i < (end - first) * Layers.HEAD_DIM; i++) {
          most = Math.max(most, Math.abs(x[at(i, first, head, row)]));
        }
        float scale = most == 0 ? 1 : most / 127;
        for (int i = 0; i < (end - first) * Layers.HEAD_DIM; i++) {
          int at = at(i, first, head, row);
          y[at] = Math.round(x[at] / scale) * scale;
        }
      }
    }
    return y;
  }

  private static int at(int i, int first, int head, int row) {
    return (first + i / Layers.HEAD_DIM) * row + head * Layers.HEAD_DIM + i % Layers.HEAD_DIM;
  }
}
