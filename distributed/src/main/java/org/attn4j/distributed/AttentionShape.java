package org.attn4j.distributed;

import org.attn4j.DType;

/**
 * The sizes of a {@link SequenceAttention} that don't depend on the rank.
 *
 * @param joint tokens that every rank has, beside those of the layout
 */
record AttentionShape(int batch, int heads, int kvHeads, int headDim, DType type, int joint) {
  String description() {
    return "batch="
        + batch
        + ", heads="
        + heads
        + ", kvHeads="
        + kvHeads
        + ", headDim="
        + headDim
        + ", type="
        + type
        + ", jointTokens="
        + joint;
  }
}
