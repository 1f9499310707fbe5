package org.attn4j.distributed;

import org.attn4j.CausalMask;
import org.attn4j.DType;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/** Attention of numbers that need no random generator. */
final class FixedProblem {
  private static final int HEADS = 4;
  private static final int TOKENS = 61;

  private FixedProblem() {}

  private static Tensor numbers(int headDim, double factor) {
    return torch
        .arange(new Scalar(HEADS * TOKENS * headDim))
        .mul(new Scalar(factor))
        .sin()
        .view(1, HEADS, TOKENS, headDim);
  }

  /** The largest error of this rank's output. */
  static double error(World world, SequenceMesh mesh, int headDim) {
    return between(world, mesh, headDim, () -> {});
  }

  /** The same in the second of two calls, between which something happens. */
  @SuppressWarnings("try") // the scope is there to be closed
  static double between(World world, SequenceMesh mesh, int headDim, Runnable happening) {
    try (PointerScope scope = new PointerScope()) {
      SequenceLayout layout = SequenceLayout.of(TOKENS, mesh, CausalMask.NONE);
      Tensor[] whole = new Tensor[3];
      Tensor[] mine = new Tensor[3];
      for (int i = 0; i < 3; i++) {
        whole[i] = numbers(headDim, 1.7 + i);
        mine[i] = layout.shard(whole[i], 2, world.rank());
      }
      Tensor all = torch.scaled_dot_product_attention(whole[0], whole[1], whole[2]);
      Tensor wanted = layout.shard(all, 2, world.rank());
      try (SequenceAttention attention =
          SequenceAttention.builder(world, layout)
              .heads(HEADS, HEADS, headDim, DType.FLOAT32)
              .build()) {
        attention.attend(mine[0], mine[1], mine[2]);
        happening.run();
        Tensor o = attention.attend(mine[0], mine[1], mine[2]);
        return o.sub(wanted).abs().max().item_double();
      }
    }
  }
}
