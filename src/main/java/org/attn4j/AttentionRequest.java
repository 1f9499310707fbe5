package org.attn4j;

import org.attn4j.backend.Plan;

/**
 * One attention call: {@code o = softmax(smScale * q k^T + mask) v} per batch entry and query head.
 * Query head h reads key/value head {@code h / (headsQ / headsKv)}. A query that sees no key gets a
 * zero row and an LSE of -infinity.
 *
 * <p>Immutable, and valid once built: {@link Builder#build} checks all that can be checked without
 * asking a backend. A request may be run again and again, with new contents in its tensors; a
 * request that is reused makes no garbage.
 */
public final class AttentionRequest {
  private final AttentionTensor q;
  private final AttentionTensor k;
  private final AttentionTensor v;
  private final AttentionTensor o;
  private final AttentionTensor lse;
  private final AttentionTensor kvLengths;
  private final AttentionMask mask;
  private final PackedSequences packed;
  private final SparsityTensors sparsityTensors;
  private final AttentionOptions options;
  private final CudaStream stream;
  private final DeviceMemory workspace;
  private final AttentionDims dims;

  // Which backend serves, found at the first run. A race is harmless: all plans of one request are
  // equal.
  private Plan plan;

  private AttentionRequest(Builder builder) {
    q = builder.q;
    k = builder.k;
    v = builder.v;
    o = builder.o;
    lse = builder.lse;
    kvLengths = builder.kvLengths;
    mask = builder.mask;
    packed = builder.packed;
    sparsityTensors = builder.sparsityTensors;
    options = builder.options;
    workspace = builder.workspace;
    dims = RequestValidation.check(builder);
    stream =
        builder.stream == null && q instanceof DeviceTensor device
            ? CudaStream.defaultStream(device.device())
            : builder.stream;
  }

  private AttentionRequest(AttentionRequest other, DeviceMemory workspace) {
    q = other.q;
    k = other.k;
    v = other.v;
    o = other.o;
    lse = other.lse;
    kvLengths = other.kvLengths;
    mask = other.mask;
    packed = other.packed;
    sparsityTensors = other.sparsityTensors;
    options = other.options;
    dims = other.dims;
    stream = other.stream;
    plan = other.plan;
    this.workspace = workspace;
  }

  /**
   * {@return the same request with scratch memory of its own, for callers that learn the size from
   * {@link Attention#workspaceSize} first} On the device of q.
   *
   * @param memory at least {@link Attention#workspaceSize} bytes on the device of q
   */
  public AttentionRequest withWorkspace(DeviceMemory memory) {
    RequestValidation.checkWorkspace(memory, q);
    return new AttentionRequest(this, memory);
  }

  /** {@return a builder without tensors and with default options} */
  public static Builder builder() {
    return new Builder();
  }

  /**
   * {@return queries: (batch, headsQ, queries, headDim) in HND, (batch, queries, headsQ, headDim)
   * in NHD}
   */
  public AttentionTensor q() {
    return q;
  }

  /**
   * {@return keys: (batch, headsKv, keys, headDim) in HND, (batch, keys, headsKv, headDim) in NHD}
   */
  public AttentionTensor k() {
    return k;
  }

  /** {@return values, of the sizes of k} */
  public AttentionTensor v() {
    return v;
  }

  /** {@return the output, of the sizes of q; written} */
  public AttentionTensor o() {
    return o;
  }

  /**
   * {@return FLOAT32 (batch, headsQ, queries), contiguous, written: ln(sum of exp(scores)); or
   * null}
   */
  public AttentionTensor lse() {
    return lse;
  }

  /**
   * {@return INT32 (batch): the keys at and after this index are ignored; or null: all keys count}
   */
  public AttentionTensor kvLengths() {
    return kvLengths;
  }

  /**
   * {@return which keys each query sees and what is added to its scores; or null: all, and nothing}
   */
  public AttentionMask mask() {
    return mask;
  }

  /** {@return the sequences that the rows consist of; or null: batch entries are sequences} */
  public PackedSequences packed() {
    return packed;
  }

  /** {@return the tensors of a sparse request; {@link SparsityTensors#NONE} if it has none} */
  public SparsityTensors sparsityTensors() {
    return sparsityTensors;
  }

  /** {@return how to compute it} */
  public AttentionOptions options() {
    return options;
  }

  /** {@return the stream of a request over device tensors; null for host tensors} */
  public CudaStream stream() {
    return stream;
  }

  /** {@return the caller's scratch memory, or null: that of the stream} */
  public DeviceMemory workspace() {
    return workspace;
  }

  /** {@return the sizes by name} */
  public AttentionDims dims() {
    return dims;
  }

  Plan plan() {
    return plan;
  }

  void plan(Plan value) {
    plan = value;
  }

  /**
   * Throws {@link ClosedTensorException} if memory of a tensor, the workspace or the stream was
   * closed.
   */
  void requireOpen() {
    requireOpen(q, "q");
    requireOpen(k, "k");
    requireOpen(v, "v");
    requireOpen(o, "o");
    if (lse != null) {
      requireOpen(lse, "lse");
    }
    if (kvLengths != null) {
      requireOpen(kvLengths, "kvLengths");
    }
    if (mask != null) {
      for (AttentionTensor tensor : mask.tensors()) {
        requireOpen(tensor, "mask");
      }
    }
    if (packed != null) {
      requireOpen(packed.cuSeqlensQ(), "packed.cuSeqlensQ");
      requireOpen(packed.cuSeqlensK(), "packed.cuSeqlensK");
    }
    sparsityTensors.requireOpen();
    if (workspace != null && workspace.isClosed()) {
      throw new ClosedTensorException("workspace is closed; it must be open during the call");
    }
    if (stream != null) {
      stream.requireOpen();
    }
  }

  private static void requireOpen(AttentionTensor tensor, String name) {
    if (tensor.isClosed()) {
      throw new ClosedTensorException(name + " is closed; it must be open during the call");
    }
  }

  /** Builds an {@link AttentionRequest}. q, k, v and o are needed; the rest is optional. */
  public static final class Builder {
    AttentionTensor q;
    AttentionTensor k;
    AttentionTensor v;
    AttentionTensor o;
    AttentionTensor lse;
    AttentionTensor kvLengths;
    AttentionMask mask;
    PackedSequences packed;
    SparsityTensors sparsityTensors = SparsityTensors.NONE;
    AttentionOptions options = AttentionOptions.DEFAULTS;
    CudaStream stream;
    DeviceMemory workspace;

    private Builder() {}

    /**
     * The queries.
     *
     * @param value the queries
     * @return this builder
     */
    public Builder q(AttentionTensor value) {
      q = value;
      return this;
    }

    /**
     * The keys.
     *
     * @param value the keys
     * @return this builder
     */
    public Builder k(AttentionTensor value) {
      k = value;
      return this;
    }

    /**
     * The values.
     *
     * @param value the values
     * @return this builder
     */
    public Builder v(AttentionTensor value) {
      v = value;
      return this;
    }

    /**
     * The output; it must not overlap an input.
     *
     * @param value the output; it must not overlap an input
     * @return this builder
     */
    public Builder o(AttentionTensor value) {
      o = value;
      return this;
    }

    /**
     * Where to write the log-sum-exp: FLOAT32 (batch, headsQ, queries), contiguous; null: not
     * wanted.
     *
     * @param value where to write the log-sum-exp: FLOAT32 (batch, headsQ, queries), contiguous;
     *     null: not wanted
     * @return this builder
     */
    public Builder lse(AttentionTensor value) {
      lse = value;
      return this;
    }

    /**
     * The number of keys that count, per batch entry: INT32 (batch), contiguous, in the same kind
     * of memory as q; null: all. Values below 0 count as 0, values above the number of keys as that
     * number.
     *
     * @param value the number of keys that count, per batch entry: INT32 (batch), contiguous, in
     *     the same kind of memory as q; null: all
     * @return this builder
     */
    public Builder kvLengths(AttentionTensor value) {
      kvLengths = value;
      return this;
    }

    /**
     * Which keys each query sees, and what is added to its scores; null: all, and nothing. Its
     * tensors are in the same kind of memory as q. The options' causal mask and kvLengths hold
     * besides. docs/masks.md says which backends serve which masks.
     *
     * @param value which keys each query sees, and what is added to its scores; null: all, and
     *     nothing
     * @return this builder
     */
    public Builder mask(AttentionMask value) {
      mask = value;
      return this;
    }

    /**
     * The sequences that the rows of q and of k consist of; null: batch entries are sequences.
     * Beside them neither kvLengths nor a mask is accepted; a causal mask is. docs/masks.md says
     * which backends serve it.
     *
     * @param value the sequences that the rows of q and of k consist of; null: batch entries are
     *     sequences
     * @return this builder
     */
    public Builder packed(PackedSequences value) {
      packed = value;
      return this;
    }

    /**
     * Thresholds per head, a block mask, and where to report the blocks computed. A request with a
     * mask or a report is served by the sparge backend alone: the others can't honour it.
     *
     * @param value thresholds per head, a block mask, and where to report the blocks computed
     * @return this builder
     */
    public Builder sparsityTensors(SparsityTensors value) {
      sparsityTensors = value;
      return this;
    }

    /**
     * How to compute it.
     *
     * @param value how to compute it
     * @return this builder
     */
    public Builder options(AttentionOptions value) {
      options = value;
      return this;
    }

    /**
     * The stream to enqueue on; the legacy default stream of q's device if not set.
     *
     * @param value the stream to enqueue on; the legacy default stream of q's device if not set
     * @return this builder
     */
    public Builder stream(CudaStream value) {
      stream = value;
      return this;
    }

    /**
     * Scratch memory for this request, at least {@link Attention#workspaceSize} bytes, aligned to
     * 256 bytes; that of the stream if not set. Requests that may run at the same time need
     * different ones.
     *
     * @param value scratch memory for this request, at least {@link Attention#workspaceSize} bytes,
     *     aligned to 256 bytes; that of the stream if not set
     * @return this builder
     */
    public Builder workspace(DeviceMemory value) {
      workspace = value;
      return this;
    }

    /**
     * {@return the request}
     *
     * @throws InvalidAttentionArgumentException if an argument is missing or the arguments don't
     *     fit together
     * @throws ClosedTensorException if a tensor is closed
     */
    public AttentionRequest build() {
      AttentionRequest request = new AttentionRequest(this);
      request.requireOpen();
      return request;
    }
  }
}
