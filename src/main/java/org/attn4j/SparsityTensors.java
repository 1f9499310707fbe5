package org.attn4j;

/**
 * The device tensors of a sparse request: thresholds per head, the caller's block mask, and what
 * SpargeAttn reports. All are optional, contiguous and on q's device. Immutable.
 *
 * <p>{@link Attention#blockGrid} says how many blocks a request has.
 */
public final class SparsityTensors {
  /** No tensors. */
  public static final SparsityTensors NONE = builder().build();

  private final DeviceTensor simthreshd1;
  private final DeviceTensor cdfthreshd;
  private final DeviceTensor topk;
  private final DeviceTensor pvthreshd;
  private final DeviceTensor blockMask;
  private final DeviceTensor blockMap;
  private final DeviceTensor sparsity;

  private SparsityTensors(Builder builder) {
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

  /** {@return FLOAT32 (headsQ): simthreshd1 of each head, instead of the options'; or null} */
  public DeviceTensor simthreshd1() {
    return simthreshd1;
  }

  /** {@return FLOAT32 (headsQ): cdfthreshd of each head, instead of the options'; or null} */
  public DeviceTensor cdfthreshd() {
    return cdfthreshd;
  }

  /** {@return FLOAT32 (headsQ): topk of each head, instead of the options'; or null} */
  public DeviceTensor topk() {
    return topk;
  }

  /** {@return FLOAT32 (headsQ): pvthreshd of each head, instead of the options'; or null} */
  public DeviceTensor pvthreshd() {
    return pvthreshd;
  }

  /** {@return INT8 (batch, headsQ, queryBlocks, keyBlocks), not 0 = compute; or null} */
  public DeviceTensor blockMask() {
    return blockMask;
  }

  /** {@return INT8 (batch, headsQ, queryBlocks, keyBlocks), written: 1 = computed; or null} */
  public DeviceTensor blockMap() {
    return blockMap;
  }

  /**
   * {@return FLOAT32 (batch, headsQ), written: the share of blocks left out, of those that the
   * causal mask and the key lengths leave; or null}
   */
  public DeviceTensor sparsity() {
    return sparsity;
  }

  /**
   * {@return whether the request asks for what only SpargeAttn can do: obey a mask, report blocks}
   */
  public boolean needSparge() {
    return blockMask != null || blockMap != null || sparsity != null;
  }

  /** Throws if a tensor is closed, of another type, on another device or too small. */
  void check(AttentionTensor q, AttentionDims dims, SparsityOptions options) {
    checkPerHead(simthreshd1, "simthreshd1", q, dims);
    checkPerHead(cdfthreshd, "cdfthreshd", q, dims);
    checkPerHead(topk, "topk", q, dims);
    checkPerHead(pvthreshd, "pvthreshd", q, dims);
    checkMap(blockMask, "blockMask", q, dims);
    checkMap(blockMap, "blockMap", q, dims);
    if (sparsity != null) {
      check(sparsity, "sparsity", q);
      boolean fits =
          sparsity.dtype() == DType.FLOAT32
              && sparsity.shape().rank() == 2
              && sparsity.size(0) == dims.batch()
              && sparsity.size(1) == dims.headsQ();
      require(
          fits,
          sparsity,
          "sparsity",
          "FLOAT32 [" + dims.batch() + ", " + dims.headsQ() + "] is accepted");
    }
    boolean byMask = options.selection() == SparsityOptions.Selection.MASK;
    if (byMask != (blockMask != null)) {
      throw new InvalidAttentionArgumentException(
          byMask
              ? "blockMask is null; selection MASK needs one"
              : "blockMask is set and the selection is "
                  + options.selection()
                  + "; SparsityOptions.byMask() reads it");
    }
  }

  /** Throws {@link ClosedTensorException} if a tensor was closed. */
  void requireOpen() {
    requireOpen(simthreshd1, "simthreshd1");
    requireOpen(cdfthreshd, "cdfthreshd");
    requireOpen(topk, "topk");
    requireOpen(pvthreshd, "pvthreshd");
    requireOpen(blockMask, "blockMask");
    requireOpen(blockMap, "blockMap");
    requireOpen(sparsity, "sparsity");
  }

  private static void requireOpen(DeviceTensor tensor, String name) {
    if (tensor != null && tensor.isClosed()) {
      throw new ClosedTensorException(name + " is closed; it must be open during the call");
    }
  }

  private static void checkPerHead(
      DeviceTensor tensor, String name, AttentionTensor q, AttentionDims dims) {
    if (tensor == null) {
      return;
    }
    check(tensor, name, q);
    boolean fits =
        tensor.dtype() == DType.FLOAT32
            && tensor.shape().rank() == 1
            && tensor.size(0) == dims.headsQ();
    require(fits, tensor, name, "FLOAT32 [" + dims.headsQ() + "] is accepted");
  }

  // The number of blocks depends on the kernel: the backend checks it.
  private static void checkMap(
      DeviceTensor tensor, String name, AttentionTensor q, AttentionDims dims) {
    if (tensor == null) {
      return;
    }
    check(tensor, name, q);
    boolean fits =
        tensor.dtype() == DType.INT8
            && tensor.shape().rank() == 4
            && tensor.size(0) == dims.batch()
            && tensor.size(1) == dims.headsQ();
    require(
        fits,
        tensor,
        name,
        "INT8 ["
            + dims.batch()
            + ", "
            + dims.headsQ()
            + ", queryBlocks, keyBlocks] of Attention.blockGrid is accepted");
  }

  private static void check(DeviceTensor tensor, String name, AttentionTensor q) {
    if (!(q instanceof DeviceTensor there) || there.device() != tensor.device()) {
      throw new InvalidAttentionArgumentException(
          name
              + " is on device "
              + tensor.device()
              + " and q "
              + (q instanceof DeviceTensor there ? "on device " + there.device() : "host memory")
              + "; they must agree");
    }
    require(tensor.shape().isContiguous(), tensor, name, "a contiguous tensor is accepted");
  }

  private static void require(boolean fits, DeviceTensor tensor, String name, String accepted) {
    if (!fits) {
      throw new InvalidAttentionArgumentException(
          name + " is " + tensor.dtype() + " " + tensor.shape() + "; " + accepted);
    }
  }

  /** Builds {@link SparsityTensors}. Every setter takes null for "none". */
  public static final class Builder {
    private DeviceTensor simthreshd1;
    private DeviceTensor cdfthreshd;
    private DeviceTensor topk;
    private DeviceTensor pvthreshd;
    private DeviceTensor blockMask;
    private DeviceTensor blockMap;
    private DeviceTensor sparsity;

    private Builder() {}

    /**
     * FLOAT32 (headsQ).
     *
     * @param value FLOAT32 (headsQ)
     * @return this builder
     */
    public Builder simthreshd1(DeviceTensor value) {
      simthreshd1 = value;
      return this;
    }

    /**
     * FLOAT32 (headsQ).
     *
     * @param value FLOAT32 (headsQ)
     * @return this builder
     */
    public Builder cdfthreshd(DeviceTensor value) {
      cdfthreshd = value;
      return this;
    }

    /**
     * FLOAT32 (headsQ).
     *
     * @param value FLOAT32 (headsQ)
     * @return this builder
     */
    public Builder topk(DeviceTensor value) {
      topk = value;
      return this;
    }

    /**
     * FLOAT32 (headsQ).
     *
     * @param value FLOAT32 (headsQ)
     * @return this builder
     */
    public Builder pvthreshd(DeviceTensor value) {
      pvthreshd = value;
      return this;
    }

    /**
     * INT8 (batch, headsQ, queryBlocks, keyBlocks), with {@link SparsityOptions#byMask}.
     *
     * @param value INT8 (batch, headsQ, queryBlocks, keyBlocks), with {@link
     *     SparsityOptions#byMask}
     * @return this builder
     */
    public Builder blockMask(DeviceTensor value) {
      blockMask = value;
      return this;
    }

    /**
     * INT8 (batch, headsQ, queryBlocks, keyBlocks), written.
     *
     * @param value INT8 (batch, headsQ, queryBlocks, keyBlocks), written
     * @return this builder
     */
    public Builder blockMap(DeviceTensor value) {
      blockMap = value;
      return this;
    }

    /**
     * FLOAT32 (batch, headsQ), written.
     *
     * @param value FLOAT32 (batch, headsQ), written
     * @return this builder
     */
    public Builder sparsity(DeviceTensor value) {
      sparsity = value;
      return this;
    }

    /** {@return the tensors} */
    public SparsityTensors build() {
      return new SparsityTensors(this);
    }
  }
}
