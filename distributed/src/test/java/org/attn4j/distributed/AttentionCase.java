package org.attn4j.distributed;

import java.util.List;
import java.util.Random;
import org.attn4j.AttentionOptions;
import org.attn4j.CausalMask;
import org.attn4j.DType;
import org.attn4j.TensorLayout;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.LongOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** A random attention problem, the same for the same seed on every rank. */
record AttentionCase(
    long seed,
    int batch,
    int heads,
    int kvHeads,
    int headDim,
    int tokens,
    int joint,
    DType type,
    boolean causal,
    boolean zigzag,
    int keyTile,
    TensorLayout tensorLayout,
    float scale,
    KeyExchange keys) {
  private static final int[][] HEADS = {
    {4, 4}, {8, 2}, {6, 3}, {4, 1}, {5, 5}, {10, 2}, {3, 1}, {7, 7}, {2, 2}, {1, 1}
  };

  static AttentionCase random(long seed) {
    Random random = new Random(seed * 31 + 7);
    int[] heads = HEADS[random.nextInt(HEADS.length)];
    boolean causal = random.nextInt(5) < 2;
    DType[] types = {DType.FLOAT32, DType.FLOAT16, DType.BFLOAT16};
    return new AttentionCase(
        seed,
        1 + random.nextInt(2),
        heads[0],
        heads[1],
        new int[] {8, 16, 40, 64}[random.nextInt(4)],
        random.nextInt(6) == 0 ? 1 + random.nextInt(5) : 1 + random.nextInt(257),
        causal || random.nextInt(3) > 0 ? 0 : 1 + random.nextInt(40),
        types[random.nextInt(3)],
        causal,
        random.nextInt(4) > 0,
        new int[] {1, 1, 16, 64}[random.nextInt(4)],
        random.nextBoolean() ? TensorLayout.HND : TensorLayout.NHD,
        random.nextInt(4) == 0 ? 0.3f : Float.NaN,
        random.nextInt(3) > 0 ? KeyExchange.RING : KeyExchange.ALL_GATHER);
  }

  AttentionOptions options() {
    AttentionOptions.Builder builder = AttentionOptions.builder().layout(tensorLayout);
    return Float.isNaN(scale) ? builder.build() : builder.smScale(scale).build();
  }

  SequenceLayout layout(SequenceMesh mesh) {
    CausalMask mask = causal ? CausalMask.TOP_LEFT : CausalMask.NONE;
    SequenceLayout layout = SequenceLayout.of(tokens, mesh, mask).withKeyTile(keyTile);
    return zigzag ? layout : layout.withoutZigzag();
  }

  SequenceAttention attention(World world, SequenceLayout layout) {
    return SequenceAttention.builder(world, layout)
        .heads(heads, kvHeads, headDim, type)
        .batch(batch)
        .jointTokens(joint)
        .options(options())
        .keyExchange(keys)
        .build();
  }

  /** q, k and v as (batch, heads, tokens and joint ones, headDim), of the case's type. */
  List<Tensor> inputs() {
    torch.manual_seed(seed);
    long all = tokens + joint;
    return List.of(
        torch.randn(batch, heads, all, headDim).to(scalarType()),
        torch.randn(batch, kvHeads, all, headDim).mul(new Scalar(2)).to(scalarType()),
        torch.randn(batch, kvHeads, all, headDim).to(scalarType()));
  }

  private ScalarType scalarType() {
    return Tensors.scalarType(type);
  }

  /** PyTorch's attention in FP64, in one process. */
  Tensor expected(List<Tensor> inputs) {
    LongOptional headDimension = new LongOptional(1);
    int group = heads / kvHeads;
    Tensor k = inputs.get(1).to(ScalarType.Double);
    Tensor v = inputs.get(2).to(ScalarType.Double);
    return torch.scaled_dot_product_attention(
        inputs.get(0).to(ScalarType.Double),
        k.repeat_interleave(group, headDimension, new LongOptional()),
        v.repeat_interleave(group, headDimension, new LongOptional()),
        new TensorOptional(),
        0,
        causal,
        Float.isNaN(scale) ? new DoubleOptional() : new DoubleOptional(scale),
        false);
  }

  /** Runs the case on this rank; the largest error over what is allowed, above 1: wrong. */
  double run(World world, SequenceMesh mesh) {
    SequenceLayout layout = layout(mesh);
    List<Tensor> whole = inputs();
    Tensor expected = expected(whole);
    Tensor wanted = layout.shard(expected.narrow(2, 0, tokens), 2, world.rank());
    Tensor[] mine = new Tensor[3];
    Tensor[] text = new Tensor[3];
    for (int i = 0; i < 3; i++) {
      mine[i] = put(layout.shard(whole.get(i).narrow(2, 0, tokens), 2, world.rank()));
      text[i] = put(whole.get(i).narrow(2, tokens, joint));
    }
    try (SequenceAttention attention = attention(world, layout)) {
      if (joint == 0) {
        Tensor output = attention.attend(mine[0], mine[1], mine[2]);
        Tensor gathered = layout.gather(world, output, tokenDimension());
        return Math.max(
            error(hnd(output), wanted), error(hnd(gathered), expected.narrow(2, 0, tokens)));
      }
      JointOutput output = attention.attend(mine[0], mine[1], mine[2], text[0], text[1], text[2]);
      double ofText = error(hnd(output.joint()), expected.narrow(2, tokens, joint));
      return Math.max(error(hnd(output.tokens()), wanted), ofText);
    }
  }

  private int tokenDimension() {
    return tensorLayout == TensorLayout.HND ? 2 : 1;
  }

  /** An (HND) tensor in the case's layout; every other one is a view with other strides. */
  private Tensor put(Tensor hnd) {
    Tensor turned = tensorLayout == TensorLayout.HND ? hnd : hnd.transpose(1, 2);
    if (seed % 2 == 0) {
      return turned.contiguous();
    }
    return torch.cat(new TensorVector(turned, turned), 3).narrow(3, 0, headDim);
  }

  private Tensor hnd(Tensor tensor) {
    return tensorLayout == TensorLayout.HND ? tensor : tensor.transpose(1, 2);
  }

  /** The largest error as a share of what is allowed: 1e-5, and half a unit of a 16-bit type. */
  private double error(Tensor actual, Tensor wanted) {
    if (!java.util.Arrays.equals(actual.shape(), wanted.shape())) {
      return Double.POSITIVE_INFINITY;
    }
    if (wanted.numel() == 0) {
      return 0;
    }
    Tensor allowed = wanted.abs().mul(new Scalar(0)).add(new Scalar(1e-5));
    if (type != DType.FLOAT32) {
      int bits = type == DType.FLOAT16 ? 10 : 7;
      double smallest = type == DType.FLOAT16 ? -14 : -126;
      Tensor exponent = wanted.abs().add(new Scalar(1e-300)).log2().floor_();
      Tensor unit = torch.exp2(exponent.clamp_min(new Scalar(smallest)).sub(new Scalar(bits)));
      allowed = allowed.add(unit.mul(new Scalar(0.5)));
    }
    Tensor share = actual.to(ScalarType.Double).sub(wanted).abs().div(allowed);
    double most = share.max().item_double();
    return most >= 0 ? most : Double.POSITIVE_INFINITY; // NaN
  }
}
