package org.attn4j;

/** The sizes of a request by name, whatever its layout. */
public final class AttentionDims {
  private final TensorShape q;
  private final TensorShape k;
  private final TensorLayout layout;

  AttentionDims(TensorLayout layout, TensorShape q, TensorShape k) {
    this.layout = layout;
    this.q = q;
    this.k = k;
  }

  /** {@return batch entries} */
  public long batch() {
    return q.size(0);
  }

  /** {@return query heads, a multiple of {@link #headsKv}} */
  public long headsQ() {
    return q.size(layout.headDimension());
  }

  /** {@return key/value heads} */
  public long headsKv() {
    return k.size(layout.headDimension());
  }

  /** {@return queries per head} */
  public long queries() {
    return q.size(layout.sequenceDimension());
  }

  /** {@return keys per head} */
  public long keys() {
    return k.size(layout.sequenceDimension());
  }

  /** {@return channels per head} */
  public long headDim() {
    return q.size(3);
  }

  /** {@return query heads per key/value head} */
  public long group() {
    return headsKv() == 0 ? 1 : headsQ() / headsKv();
  }

  /** For example {@code batch 2, heads 8/2, queries 100, keys 200, head_dim 64}. */
  @Override
  public String toString() {
    return "batch "
        + batch()
        + ", heads "
        + headsQ()
        + "/"
        + headsKv()
        + ", queries "
        + queries()
        + ", keys "
        + keys()
        + ", head_dim "
        + headDim();
  }
}
