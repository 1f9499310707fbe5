package org.attn4j.pytorch;

import java.util.Random;
import org.attn4j.AttentionOptions;
import org.attn4j.CausalMask;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** One random call of scaled_dot_product_attention: any rank, strides, mask, scale, head groups. */
final class TorchCase {
  /** What the elements of a mask do. */
  enum MaskKind {
    NONE,
    ALL_TRUE,
    PADDING,
    DENSE,
    ADDITIVE_ZERO,
    ADDITIVE_PADDING,
    ADDITIVE
  }

  final Tensor query;
  final Tensor key;
  final Tensor value;
  final MaskKind maskKind;
  final Tensor mask; // null if NONE
  final boolean causal;
  final double scale; // NaN: default
  final boolean grouped;
  final long headDim;
  private final String description;

  private TorchCase(Builder b, String description) {
    query = b.query;
    key = b.key;
    value = b.value;
    maskKind = b.maskKind;
    mask = b.mask;
    causal = b.causal;
    scale = b.scale;
    grouped = b.grouped;
    headDim = b.headDim;
    this.description = description;
  }

  TensorOptional maskOptional() {
    return mask == null ? new TensorOptional() : new TensorOptional(mask);
  }

  DoubleOptional scaleOptional() {
    return Double.isNaN(scale) ? new DoubleOptional() : new DoubleOptional(scale);
  }

  /** PyTorch's own result. */
  Tensor expected() {
    return torch.scaled_dot_product_attention(
        query, key, value, maskOptional(), 0, causal, scaleOptional(), grouped);
  }

  /** The result of the drop-in. */
  Tensor actual() {
    return Attn4j.scaled_dot_product_attention(
        query, key, value, maskOptional(), 0, causal, scaleOptional(), grouped);
  }

  /** The options that mean the same as causal and scale. */
  AttentionOptions.Builder options() {
    AttentionOptions.Builder options =
        AttentionOptions.builder().causalMask(causal ? CausalMask.TOP_LEFT : CausalMask.NONE);
    return Double.isNaN(scale) ? options : options.smScale((float) scale);
  }

  @Override
  public String toString() {
    return description;
  }

  /** What kinds of cases to draw. */
  record Limits(ScalarType[] types, long maxLength, long[] headDims, boolean cuda) {}

  static TorchCase random(Random random, Limits limits) {
    Builder b = new Builder(random, limits);
    b.draw();
    return new TorchCase(b, b.describe());
  }

  private static final class Builder {
    private final Random random;
    private final Limits limits;
    private final TensorOptions like;
    private final ScalarType type;
    Tensor query;
    Tensor key;
    Tensor value;
    MaskKind maskKind;
    Tensor mask;
    boolean causal;
    double scale = Double.NaN;
    boolean grouped;
    long headDim;
    private int rank;
    private long batch;
    private long heads;
    private long headsKv;
    private long queries;
    private long keys;

    Builder(Random random, Limits limits) {
      this.random = random;
      this.limits = limits;
      this.type = limits.types()[random.nextInt(limits.types().length)];
      this.like = Torch.options(type, limits.cuda());
    }

    void draw() {
      rank = new int[] {2, 3, 4, 4, 4, 4, 4, 4, 4, 5}[random.nextInt(10)];
      batch = 1 + random.nextInt(3);
      headsKv = 1 + random.nextInt(3);
      grouped = rank == 4 && random.nextInt(3) == 0;
      heads = grouped ? headsKv * (1 + random.nextInt(3)) : headsKv;
      queries = length();
      keys = random.nextBoolean() ? queries : length();
      headDim = limits.headDims()[random.nextInt(limits.headDims().length)];
      causal = random.nextInt(4) == 0;
      if (random.nextInt(3) == 0) {
        // PyTorch multiplies masked scores too, so that 0 and less give NaN with its own kernels.
        scale = 0.02 + random.nextDouble() / 2;
      }
      boolean broadcast = rank == 4 && !grouped && random.nextInt(6) == 0;
      query = tensor(batch, heads, queries, random.nextInt(12) == 0 && broadcast);
      key = tensor(batch, headsKv, keys, broadcast);
      value = tensor(batch, headsKv, keys, broadcast && random.nextBoolean());
      maskKind =
          causal || random.nextInt(2) == 0
              ? MaskKind.NONE
              : MaskKind.values()[random.nextInt(MaskKind.values().length)];
      mask = maskKind == MaskKind.NONE ? null : mask();
    }

    private long length() {
      return random.nextInt(5) == 0
          ? 1 + random.nextInt(3)
          : 1 + random.nextLong(limits.maxLength());
    }

    /** A tensor of the case's rank, in one of the memory layouts that programs have. */
    private Tensor tensor(long b, long h, long length, boolean one) {
      long useB = one && random.nextBoolean() ? 1 : b;
      long useH = one && useB == b ? 1 : h;
      if (rank != 4) {
        long[] sizes = {2, useB, useH, length, headDim};
        long[] cut = java.util.Arrays.copyOfRange(sizes, 5 - rank, 5);
        if (rank == 3) {
          cut[0] = b; // no broadcasting here
        }
        return torch.randn(cut, like);
      }
      return switch (random.nextInt(5)) {
        case 0 -> torch.randn(new long[] {useB, length, useH, headDim}, like).transpose(1, 2);
        case 1 -> // a third of a fused projection
            torch
                .randn(new long[] {useB, length, 3 * useH, headDim}, like)
                .narrow(2, useH, useH)
                .transpose(1, 2);
        case 2 -> // rows of a longer cache
            torch.randn(new long[] {useB, useH, length + 5, headDim}, like).narrow(2, 3, length);
        case 3 -> // channels that don't lie next to each other
            random.nextInt(3) == 0
                ? torch.randn(new long[] {useB, useH, headDim, length}, like).transpose(2, 3)
                : torch.randn(new long[] {useB, useH, length, headDim}, like);
        default -> torch.randn(new long[] {useB, useH, length, headDim}, like);
      };
    }

    private Tensor mask() {
      boolean perHead = random.nextBoolean();
      long[] full = {batch, perHead ? heads : 1, queries, keys};
      if (rank < 4) {
        full = rank == 3 ? new long[] {batch, queries, keys} : new long[] {queries, keys};
      }
      Tensor bool =
          switch (maskKind) {
            case ALL_TRUE, ADDITIVE_ZERO ->
                torch.ones(full, Torch.options(ScalarType.Bool, limits.cuda()));
            case PADDING, ADDITIVE_PADDING -> padding();
            default -> {
              Tensor some =
                  torch
                      .rand(full, Torch.options(ScalarType.Float, limits.cuda()))
                      .gt(new Scalar(0.3));
              some.select(-1, 0).fill_(new Scalar(1)); // every query sees a key
              yield some;
            }
          };
      return switch (maskKind) {
        case ALL_TRUE, PADDING, DENSE -> bool;
        default -> {
          Tensor additive = torch.zeros_like(bool, like, null);
          additive.masked_fill_(bool.logical_not(), new Scalar(Double.NEGATIVE_INFINITY));
          if (maskKind == MaskKind.ADDITIVE) {
            additive.add_(torch.randn_like(additive));
          }
          yield additive;
        }
      };
    }

    private Tensor padding() {
      long rows = rank == 4 ? batch : 1;
      Tensor lengths =
          torch.randint(
              1, keys + 1, new long[] {rows, 1}, Torch.options(ScalarType.Long, limits.cuda()));
      Tensor keep =
          torch.arange(new Scalar(keys), Torch.options(ScalarType.Long, limits.cuda())).lt(lengths);
      if (rank != 4) {
        return keep.expand(queries, keys);
      }
      Tensor four = keep.view(rows, 1, 1, keys);
      return random.nextBoolean() ? four : four.expand(batch, heads, queries, keys);
    }

    String describe() {
      return type
          + " q"
          + CallCheck.sizes(query)
          + " k"
          + CallCheck.sizes(key)
          + " v"
          + CallCheck.sizes(value)
          + " mask "
          + maskKind
          + (causal ? " causal" : "")
          + (grouped ? " gqa" : "")
          + (Double.isNaN(scale) ? "" : " scale " + scale);
    }
  }
}
