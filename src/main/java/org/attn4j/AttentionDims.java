package org.attn4j;

/**
 * The sizes of a request by name, whatever its layout.
 *
 * @param batch batch entries
 * @param headsQ query heads, a multiple of headsKv
 * @param headsKv key/value heads
 * @param queries queries per head
 * @param keys keys per head
 * @param headDim channels per head
 */
public record AttentionDims(
    long batch, long headsQ, long headsKv, long queries, long keys, long headDim) {

  static AttentionDims of(TensorLayout layout, TensorShape q, TensorShape k) {
    int head = layout.headDimension();
    int sequence = layout.sequenceDimension();
    return new AttentionDims(
        q.size(0), q.size(head), k.size(head), q.size(sequence), k.size(sequence), q.size(3));
  }

  /** Query heads per key/value head. */
  public long group() {
    return headsKv == 0 ? 1 : headsQ / headsKv;
  }
}
