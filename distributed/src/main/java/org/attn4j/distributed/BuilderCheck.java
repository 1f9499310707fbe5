package org.attn4j.distributed;

import org.attn4j.AttentionOptions;
import org.attn4j.CausalMask;
import org.attn4j.InvalidAttentionArgumentException;
import org.attn4j.SdpaBackend;
import org.attn4j.SparsityOptions;
import org.attn4j.distributed.WorldOptions.Transport;

/** What a {@link SequenceAttention} can be built of. */
final class BuilderCheck {
  private BuilderCheck() {}

  static void check(
      World world,
      SequenceLayout layout,
      AttentionShape shape,
      AttentionOptions options,
      KeyExchange keys) {
    require(world != null, "world is null; World.join makes one");
    require(layout != null, "layout is null; SequenceLayout.of makes one");
    require(options != null, "options is null; AttentionOptions.DEFAULTS are accepted");
    require(keys != null, "keyExchange is null; RING and ALL_GATHER are accepted");
    require(
        layout.mesh().size() == world.size(),
        "the layout's mesh has " + layout.mesh().size() + " ranks; the world has " + world.size());
    check(shape);
    require(
        shape.joint() == 0 || !layout.isCausal(),
        "jointTokens is " + shape.joint() + " and the mask causal; joint tokens see all tokens");
    require(
        options.causalMask() == CausalMask.NONE || layout.isCausal(),
        "the options' mask is "
            + options.causalMask()
            + " and the layout has none; SequenceLayout.of takes the mask");
    require(
        !(isRing(layout, keys) && options.backend() == SdpaBackend.SPARGE),
        "the options ask for the sparge backend in a ring; it needs whole rows of keys:"
            + " KeyExchange.ALL_GATHER or a mesh of ring 1 is accepted");
  }

  private static void check(AttentionShape shape) {
    require(
        shape.heads() >= 1 && shape.kvHeads() >= 1 && shape.heads() % shape.kvHeads() == 0,
        "heads is "
            + shape.heads()
            + " and kvHeads "
            + shape.kvHeads()
            + "; the first must be a multiple of the second, both 1 or more");
    require(shape.headDim() >= 1, "headDim is " + shape.headDim() + "; 1 or more is accepted");
    require(shape.batch() >= 1, "batch is " + shape.batch() + "; 1 or more is accepted");
    require(shape.joint() >= 0, "jointTokens is " + shape.joint() + "; 0 or more is accepted");
    require(
        shape.type() != null && shape.type().isFloatingPoint(),
        "the type is " + shape.type() + "; FLOAT16, BFLOAT16 and FLOAT32 are accepted");
  }

  private static boolean isRing(SequenceLayout layout, KeyExchange keys) {
    return layout.mesh().ring() > 1 && keys == KeyExchange.RING;
  }

  /** Where the tensors are: -1 is host memory. */
  static int device(World world) {
    return world.options().transport() == Transport.NCCL ? world.environment().localRank() : -1;
  }

  static void checkDevice(World world, Integer cudaDevice) {
    boolean nccl = world.options().transport() == Transport.NCCL;
    require(
        cudaDevice == null || cudaDevice >= (nccl ? 0 : -1),
        "cudaDevice is " + cudaDevice + "; " + (nccl ? "0" : "-1") + " or more is accepted");
  }

  /** The options without what a ring can't do. */
  static AttentionOptions effective(
      AttentionOptions options, SequenceLayout layout, KeyExchange keys) {
    return isRing(layout, keys)
        ? options.toBuilder().sparsity(SparsityOptions.OFF).build()
        : options;
  }

  private static void require(boolean condition, String sentence) {
    if (!condition) {
      throw new InvalidAttentionArgumentException(sentence);
    }
  }
}
