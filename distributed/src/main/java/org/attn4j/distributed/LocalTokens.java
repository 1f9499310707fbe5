package org.attn4j.distributed;

import org.bytedeco.pytorch.Tensor;

/**
 * What stands for {@link HeadExchange} where a position has one member, which has all heads: tokens
 * are read where they are, unless they have to be sent or joint tokens go behind them.
 */
final class LocalTokens {
  private final Rank rank;
  private final Tensor queries;
  private final Tensor keysValues;

  LocalTokens(Rank rank) {
    this.rank = rank;
    AttentionShape shape = rank.shape;
    boolean joint = shape.joint() > 0;
    queries =
        joint ? rank.buffer(rank.rows(), shape.batch(), shape.heads(), shape.headDim()) : null;
    keysValues =
        joint || rank.ring() > 1
            ? rank.buffer(rank.rows(), shape.batch(), 2, shape.kvHeads(), shape.headDim())
            : null;
  }

  /** The queries of the tokens and, if there are any, of the joint ones. */
  Tensor queries(Tensor q, Tensor joint) {
    if (queries == null) {
      return q;
    }
    fill(queries, q, joint);
    return queries;
  }

  KeysValues keysValues(Tensor k, Tensor v, Tensor jointK, Tensor jointV) {
    if (keysValues == null) {
      return new KeysValues(k, v, null);
    }
    fill(keysValues.select(2, 0), k, jointK);
    fill(keysValues.select(2, 1), v, jointV);
    return KeysValues.of(keysValues);
  }

  private void fill(Tensor target, Tensor tokens, Tensor joint) {
    target.narrow(0, 0, rank.tokens()).copy_(tokens);
    if (joint != null) {
      target.narrow(0, rank.tokens(), rank.shape.joint()).copy_(joint);
    }
  }
}
