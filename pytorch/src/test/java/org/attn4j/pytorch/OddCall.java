package org.attn4j.pytorch;

import java.util.Arrays;
import java.util.Random;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A random call that few programs make: sizes of 0, broadcast and expanded dimensions, ranks from 2
 * to 5 and of a mixture, any type, sizes that don't fit, odd scales.
 */
final class OddCall {
  private static final ScalarType[] TYPES = {
    ScalarType.Float, ScalarType.Float, ScalarType.Float, ScalarType.Half, ScalarType.BFloat16,
    ScalarType.Double, ScalarType.Int, ScalarType.Long, ScalarType.Bool, ScalarType.ComplexFloat
  };
  private static final double[] SCALES = {0, -0.25, 1e-60, 0.3, 1, Double.NaN, 1e300};

  private final Random random;
  private final ScalarType type;
  private final Tensor query;
  private final Tensor key;
  private final Tensor value;
  private final Tensor mask; // null: none
  private final boolean causal;
  private final Double scale; // null: none
  private final boolean grouped;

  private OddCall(Random random) {
    this.random = random;
    type = TYPES[random.nextInt(TYPES.length)];
    int rank = 2 + random.nextInt(4);
    rank = random.nextBoolean() ? 4 : rank;
    grouped = random.nextInt(5) == 0;
    long[] batch = {size(2), size(2), grouped ? size(2) : size(3)}; // of 5-D, of 4-D, heads
    long queries = size(9);
    long keys = size(9);
    long channels = size(17);
    query = tensor(rank, batch, grouped ? 1 + random.nextInt(3) : 1, queries, channels);
    key = tensor(rank(rank), batch, 1, keys, oddly(channels));
    long valueChannels = random.nextInt(4) == 0 ? size(17) : channels;
    value = tensor(rank(rank), batch, 1, keys, valueChannels);
    causal = random.nextInt(4) == 0;
    mask = random.nextInt(3) == 0 ? mask(batch, queries, keys) : null;
    scale = random.nextInt(4) == 0 ? SCALES[random.nextInt(causal ? 2 : 0, SCALES.length)] : null;
  }

  static OddCall random(Random random) {
    return new OddCall(random);
  }

  private long size(int most) {
    return random.nextInt(8) == 0 ? 0 : random.nextInt(5) == 0 ? 1 : 1 + random.nextInt(most);
  }

  private long oddly(long size) {
    return random.nextInt(20) == 0 ? size + 1 : size;
  }

  private int rank(int usual) {
    return random.nextInt(15) == 0 ? 2 + random.nextInt(4) : usual;
  }

  /** (5-D batch, batch, heads, length, channels), the last {@code rank} of them. */
  private Tensor tensor(int rank, long[] batch, int group, long length, long channels) {
    long[] all = {batch[0], batch[1], batch[2] * group, length, channels};
    for (int i = 0; i < 3; i++) {
      all[i] = random.nextInt(8) == 0 ? 1 : oddly(all[i]);
    }
    long[] sizes = Arrays.copyOfRange(all, 5 - rank, 5);
    Tensor made = torch.randn(sizes).mul(new Scalar(2)).to(type);
    switch (random.nextInt(6)) {
      case 0 -> { // the same memory again and again
        int dimension = random.nextInt(rank);
        return sizes[dimension] > 0 ? made.narrow(dimension, 0, 1).expand(sizes) : made;
      }
      case 1 -> {
        return made.transpose(-1, -2).contiguous().transpose(-1, -2);
      }
      case 2 -> {
        return rank > 2 ? made.transpose(-2, -3).contiguous().transpose(-2, -3) : made;
      }
      default -> {
        return made;
      }
    }
  }

  private Tensor mask(long[] batch, long queries, long keys) {
    long[] all = {batch[1], batch[2], oddly(queries), oddly(keys)};
    for (int i = 0; i < 4; i++) {
      all[i] = random.nextInt(4) == 0 ? 1 : all[i];
    }
    int rank = random.nextInt(8) == 0 ? 1 : 2 + random.nextInt(3);
    Tensor drawn = torch.randn(Arrays.copyOfRange(all, 4 - rank, 4));
    return switch (random.nextInt(4)) {
      case 0 -> drawn.gt(new Scalar(-9.0)); // all true
      case 1 -> drawn.gt(new Scalar(-0.5));
      case 2 -> drawn.to(type);
      default -> drawn;
    };
  }

  /** Whether PyTorch's own function would end this process: it divides by the number of heads. */
  boolean endsPyTorch() {
    for (Tensor tensor : new Tensor[] {query, key, value}) {
      if (tensor.dim() >= 3 && tensor.size(-3) == 0) {
        return true;
      }
    }
    return value.size(-2) != key.size(-2); // or read beyond value's end
  }

  boolean isCausalWithMask() {
    return causal && mask != null;
  }

  private TensorOptional maskOptional() {
    return mask == null ? new TensorOptional() : new TensorOptional(mask);
  }

  private DoubleOptional scaleOptional() {
    return scale == null ? new DoubleOptional() : new DoubleOptional(scale);
  }

  Tensor expected() {
    return torch.scaled_dot_product_attention(
        query, key, value, maskOptional(), 0, causal, scaleOptional(), grouped);
  }

  Tensor actual() {
    return Attn4j.scaled_dot_product_attention(
        query, key, value, maskOptional(), 0, causal, scaleOptional(), grouped);
  }

  @Override
  public String toString() {
    return type
        + " q"
        + CallCheck.sizes(query)
        + " k"
        + CallCheck.sizes(key)
        + " v"
        + CallCheck.sizes(value)
        + (mask == null ? "" : " mask " + mask.scalar_type() + CallCheck.sizes(mask))
        + (causal ? " causal" : "")
        + (grouped ? " gqa" : "")
        + (scale == null ? "" : " scale " + scale);
  }
}
