package org.attn4j.testing;

import org.attn4j.AttentionOptions;
import org.attn4j.HostTensor;
import org.attn4j.TensorLayout;

/**
 * The formula in double, one row at a time and nothing shared with the library's own code but
 * reading elements: all scores, their maximum, the softmax, the weighted sum.
 */
public final class NaiveAttention {
  private final HostTensor q;
  private final HostTensor k;
  private final HostTensor v;
  private final AttentionOptions options;
  private final int[] kvLengths;
  private final Addend mask;
  private final int headAxis;
  private final int rowAxis;
  private final int headDim;

  /** What a mask adds to the score of a pair; -infinity: hidden. */
  public interface Addend {
    double of(int b, int h, int i, int j);
  }

  /** Inputs in the options' layout; {@code kvLengths} may be null. */
  public NaiveAttention(
      HostTensor q, HostTensor k, HostTensor v, AttentionOptions options, int[] kvLengths) {
    this(q, k, v, options, kvLengths, (b, h, i, j) -> 0);
  }

  /** With a mask besides. */
  public NaiveAttention(
      HostTensor q,
      HostTensor k,
      HostTensor v,
      AttentionOptions options,
      int[] kvLengths,
      Addend mask) {
    this.q = q;
    this.k = k;
    this.v = v;
    this.options = options;
    this.kvLengths = kvLengths;
    this.mask = mask;
    headAxis = options.layout() == TensorLayout.HND ? 1 : 2;
    rowAxis = 3 - headAxis;
    headDim = (int) q.size(3);
  }

  /** One row of the output, and its log-sum-exp. */
  public record Row(double[] output, double lse) {}

  /** The row of query {@code i} of head {@code h} of batch entry {@code b}. */
  public Row row(int b, int h, int i) {
    int keyHead = (int) (h / (q.size(headAxis) / k.size(headAxis)));
    double scale = options.hasSmScale() ? options.smScale() : 1.0 / Math.sqrt(headDim);
    long lq = q.size(rowAxis);
    long lk = k.size(rowAxis);
    double[] scores = new double[(int) lk];
    float[] query = read(q, b, h, i);
    double max = Double.NEGATIVE_INFINITY;
    for (int j = 0; j < lk; j++) {
      double addend = mask.of(b, h, i, j);
      if (!sees(b, i, j, lk - lq) || addend == Double.NEGATIVE_INFINITY) {
        scores[j] = Double.NEGATIVE_INFINITY;
        continue;
      }
      float[] key = read(k, b, keyHead, j);
      double dot = 0;
      for (int c = 0; c < headDim; c++) {
        dot += (double) query[c] * key[c];
      }
      scores[j] = scale * dot + addend;
      max = Math.max(max, scores[j]);
    }
    double[] output = new double[headDim];
    if (max == Double.NEGATIVE_INFINITY) {
      return new Row(output, max);
    }
    double sum = 0;
    for (int j = 0; j < lk; j++) {
      if (scores[j] == Double.NEGATIVE_INFINITY) {
        continue;
      }
      double weight = Math.exp(scores[j] - max);
      sum += weight;
      float[] value = read(v, b, keyHead, j);
      for (int c = 0; c < headDim; c++) {
        output[c] += weight * value[c];
      }
    }
    for (int c = 0; c < headDim; c++) {
      output[c] /= sum;
    }
    return new Row(output, max + Math.log(sum));
  }

  private boolean sees(int b, int i, int j, long more) {
    boolean counts = kvLengths == null || j < kvLengths[b];
    return switch (options.causalMask()) {
      case NONE -> counts;
      case TOP_LEFT -> counts && j <= i;
      case BOTTOM_RIGHT -> counts && j <= i + more;
    };
  }

  private float[] read(HostTensor tensor, long b, long h, long row) {
    float[] target = new float[headDim];
    long offset = b * tensor.stride(0) + h * tensor.stride(headAxis) + row * tensor.stride(rowAxis);
    tensor.read(offset, tensor.stride(3), headDim, target);
    return target;
  }
}
