package org.attn4j.pytorch;

import org.bytedeco.pytorch.Tensor;

/**
 * PyTorch tensors for SpargeAttn in one call: thresholds per head and a block mask, which are read,
 * and a block map and the sparsity, which are written. All are optional, contiguous and on query's
 * device; {@link Attn4j#blockGrid} says how many blocks a call has. They replace the numbers of the
 * same name in {@link org.attn4j.SparsityOptions}.
 *
 * <p>Immutable. The tensors stay the caller's: nothing here closes them. The call enqueues on
 * PyTorch's current stream what reads and writes them; they may be closed right after it, as
 * PyTorch's allocator gives memory out again in the order of the stream that it was allocated on.
 *
 * <p>Thresholds are a permission: where SpargeAttn refuses, a backend that computes everything
 * serves. A block mask is an order, and a report can come from SpargeAttn alone: every other
 * backend, PyTorch included, refuses such a call.
 */
public final class TorchSparsity {
  private final Tensor simthreshd1;
  private final Tensor cdfthreshd;
  private final Tensor topk;
  private final Tensor pvthreshd;
  private final Tensor blockMask;
  private final Tensor blockMap;
  private final Tensor sparsity;

  private TorchSparsity(Builder builder) {
    simthreshd1 = builder.simthreshd1;
    cdfthreshd = builder.cdfthreshd;
    topk = builder.topk;
    pvthreshd = builder.pvthreshd;
    blockMask = builder.blockMask;
    blockMap = builder.blockMap;
    sparsity = builder.sparsity;
  }

  /** {@return a builder without tensors} */
  public static Builder builder() {
    return new Builder();
  }

  /** {@return Float (heads): simthreshd1 of each query head; or null} */
  public Tensor simthreshd1() {
    return simthreshd1;
  }

  /** {@return Float (heads): cdfthreshd of each query head; or null} */
  public Tensor cdfthreshd() {
    return cdfthreshd;
  }

  /** {@return Float (heads): topk of each query head; or null} */
  public Tensor topk() {
    return topk;
  }

  /** {@return Float (heads): pvthreshd of each query head; or null} */
  public Tensor pvthreshd() {
    return pvthreshd;
  }

  /** {@return Bool or Char (batch, heads, query blocks, key blocks), not 0: compute; or null} */
  public Tensor blockMask() {
    return blockMask;
  }

  /**
   * {@return Bool or Char (batch, heads, query blocks, key blocks), written: 1 if computed; or
   * null}
   */
  public Tensor blockMap() {
    return blockMap;
  }

  /** {@return Float (batch, heads), written: the share of blocks that were left out; or null} */
  public Tensor sparsity() {
    return sparsity;
  }

  /**
   * {@return whether only SpargeAttn can serve: there is a block mask, or a report is asked for}
   */
  public boolean needsSparge() {
    return blockMask != null || blockMap != null || sparsity != null;
  }

  /** Builds {@link TorchSparsity}. Every setter takes null for "none". */
  public static final class Builder {
    private Tensor simthreshd1;
    private Tensor cdfthreshd;
    private Tensor topk;
    private Tensor pvthreshd;
    private Tensor blockMask;
    private Tensor blockMap;
    private Tensor sparsity;

    private Builder() {}

    /**
     * Float (heads).
     *
     * @param value Float (heads)
     * @return this builder
     */
    public Builder simthreshd1(Tensor value) {
      simthreshd1 = value;
      return this;
    }

    /**
     * Float (heads).
     *
     * @param value Float (heads)
     * @return this builder
     */
    public Builder cdfthreshd(Tensor value) {
      cdfthreshd = value;
      return this;
    }

    /**
     * Float (heads).
     *
     * @param value Float (heads)
     * @return this builder
     */
    public Builder topk(Tensor value) {
      topk = value;
      return this;
    }

    /**
     * Float (heads).
     *
     * @param value Float (heads)
     * @return this builder
     */
    public Builder pvthreshd(Tensor value) {
      pvthreshd = value;
      return this;
    }

    /**
     * Bool or Char (batch, heads, query blocks, key blocks), with SparsityOptions.byMask().
     *
     * @param value Bool or Char (batch, heads, query blocks, key blocks), with
     *     SparsityOptions.byMask()
     * @return this builder
     */
    public Builder blockMask(Tensor value) {
      blockMask = value;
      return this;
    }

    /**
     * Bool or Char (batch, heads, query blocks, key blocks), written.
     *
     * @param value Bool or Char (batch, heads, query blocks, key blocks), written
     * @return this builder
     */
    public Builder blockMap(Tensor value) {
      blockMap = value;
      return this;
    }

    /**
     * Float (batch, heads), written.
     *
     * @param value Float (batch, heads), written
     * @return this builder
     */
    public Builder sparsity(Tensor value) {
      sparsity = value;
      return this;
    }

    /** {@return the tensors} */
    public TorchSparsity build() {
      return new TorchSparsity(this);
    }
  }
}
