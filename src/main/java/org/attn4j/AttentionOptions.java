package org.attn4j;

import java.util.Objects;
import org.attn4j.backend.Settings;

/**
 * How a request is to be computed. Immutable; {@link #DEFAULTS} or a {@link #builder()} makes one.
 * Reuse it: it has no part in the cost of a call.
 */
public final class AttentionOptions {
  /** HND, no mask, scale 1/sqrt(head_dim), per-thread INT8 with K smoothing, the whole chain. */
  public static final AttentionOptions DEFAULTS = builder().build();

  private final TensorLayout layout;
  private final CausalMask causalMask;
  private final float smScale;
  private final QuantGranularity quantGranularity;
  private final PvAccumulator pvAccumulator;
  private final boolean smoothK;
  private final SageKernel sageKernel;
  private final SparsityOptions sparsity;
  private final SparsityRule sparsityRule;
  private final String callSite;
  private final TokenGrid tokenGrid;
  private final SdpaBackend backend;
  private final BackendMode mode;

  private AttentionOptions(Builder builder) {
    layout = builder.layout;
    causalMask = builder.causalMask;
    smScale = builder.smScale;
    quantGranularity = builder.quantGranularity;
    pvAccumulator = builder.pvAccumulator;
    smoothK = builder.smoothK;
    sageKernel = builder.sageKernel;
    sparsity = builder.sparsity;
    sparsityRule = builder.sparsityRule;
    callSite = builder.callSite;
    tokenGrid = builder.tokenGrid;
    backend = builder.backend;
    mode = builder.mode;
  }

  /** {@return a builder that starts from the defaults} */
  public static Builder builder() {
    return new Builder();
  }

  /** {@return a builder that starts from these options} */
  public Builder toBuilder() {
    return new Builder(this);
  }

  /** {@return the order of the dimensions of q, k, v and o} */
  public TensorLayout layout() {
    return layout;
  }

  /** {@return which keys a query sees} */
  public CausalMask causalMask() {
    return causalMask;
  }

  /** {@return whether {@link #smScale} was set; if not, the scale is 1 / sqrt(head_dim)} */
  public boolean hasSmScale() {
    return !Float.isNaN(smScale);
  }

  /** {@return what multiplies q k^T} Meaningful only if {@link #hasSmScale}. */
  public float smScale() {
    return smScale;
  }

  /** {@return how many rows of Q and K share one INT8 scale} */
  public QuantGranularity quantGranularity() {
    return quantGranularity;
  }

  /** {@return the accumulator of P*V in the quantised kernels} */
  public PvAccumulator pvAccumulator() {
    return pvAccumulator;
  }

  /**
   * {@return whether the per-head mean of K over the sequence is subtracted before INT8
   * (SageAttention section 3.1)}
   */
  public boolean smoothK() {
    return smoothK;
  }

  /** {@return which SageAttention kernel the sage backend runs} */
  public SageKernel sageKernel() {
    return sageKernel;
  }

  /**
   * {@return what the sparge backend may leave out} If not set: {@link SparsityOptions#DEFAULTS},
   * with the thresholds that the system properties {@code org.attn4j.sparsity.simthreshd1}, {@code
   * .cdfthreshd} and {@code .pvthreshd} replace.
   */
  public SparsityOptions sparsity() {
    return sparsity == null ? Settings.defaultSparsity() : sparsity;
  }

  /**
   * {@return how the chain decides whether SpargeAttn serves, if the backend is left to it} If not
   * set: what the system property {@code org.attn4j.sparsity.rule} says ({@code learn}, {@code
   * frozen} or {@code always}), else LEARN.
   */
  public SparsityRule sparsityRule() {
    return sparsityRule == null ? Settings.defaultSparsityRule() : sparsityRule;
  }

  /** {@return the name of the place that calls with these options come from; empty: none} */
  public String callSite() {
    return callSite;
  }

  /**
   * {@return the picture or video that the tokens of self-attention are; or null: none is named}
   */
  public TokenGrid tokenGrid() {
    return tokenGrid;
  }

  /**
   * {@return the backend to start with; AUTO leaves it to the system property {@code
   * org.attn4j.backend}, else to the chain}
   */
  public SdpaBackend backend() {
    return backend;
  }

  /** {@return how strictly {@link #backend} is meant} */
  public BackendMode mode() {
    return mode;
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof AttentionOptions that
        && layout == that.layout
        && causalMask == that.causalMask
        && Float.compare(smScale, that.smScale) == 0
        && quantGranularity == that.quantGranularity
        && pvAccumulator == that.pvAccumulator
        && smoothK == that.smoothK
        && sageKernel == that.sageKernel
        && sparsity().equals(that.sparsity())
        && sparsityRule() == that.sparsityRule()
        && callSite.equals(that.callSite)
        && Objects.equals(tokenGrid, that.tokenGrid)
        && backend == that.backend
        && mode == that.mode;
  }

  @Override
  public int hashCode() {
    return Objects.hash(
        layout,
        causalMask,
        smScale,
        quantGranularity,
        pvAccumulator,
        smoothK,
        sageKernel,
        sparsity(),
        sparsityRule(),
        callSite,
        tokenGrid,
        backend,
        mode);
  }

  @Override
  public String toString() {
    return "AttentionOptions[layout="
        + layout
        + ", causalMask="
        + causalMask
        + ", smScale="
        + (hasSmScale() ? smScale : "1/sqrt(head_dim)")
        + ", quantGranularity="
        + quantGranularity
        + ", pvAccumulator="
        + pvAccumulator
        + ", smoothK="
        + smoothK
        + ", sageKernel="
        + sageKernel
        + ", sparsity="
        + sparsity()
        + ", sparsityRule="
        + sparsityRule()
        + (callSite.isEmpty() ? "" : ", callSite=" + callSite)
        + (tokenGrid == null ? "" : ", tokenGrid=" + tokenGrid)
        + ", backend="
        + backend
        + ", mode="
        + mode
        + "]";
  }

  /** Builds {@link AttentionOptions}. No setter takes null. */
  public static final class Builder {
    private TensorLayout layout = TensorLayout.HND;
    private CausalMask causalMask = CausalMask.NONE;
    private float smScale = Float.NaN; // not set
    private QuantGranularity quantGranularity = QuantGranularity.PER_THREAD;
    private PvAccumulator pvAccumulator = PvAccumulator.DEFAULT;
    private boolean smoothK = true;
    private SageKernel sageKernel = SageKernel.AUTO;
    private SparsityOptions sparsity; // null: not set
    private SparsityRule sparsityRule; // null: not set
    private String callSite = "";
    private TokenGrid tokenGrid; // null: none
    private SdpaBackend backend = SdpaBackend.AUTO;
    private BackendMode mode = BackendMode.PREFER;

    private Builder() {}

    private Builder(AttentionOptions start) {
      layout = start.layout;
      causalMask = start.causalMask;
      smScale = start.smScale;
      quantGranularity = start.quantGranularity;
      pvAccumulator = start.pvAccumulator;
      smoothK = start.smoothK;
      sageKernel = start.sageKernel;
      sparsity = start.sparsity;
      sparsityRule = start.sparsityRule;
      callSite = start.callSite;
      tokenGrid = start.tokenGrid;
      backend = start.backend;
      mode = start.mode;
    }

    /**
     * The order of the dimensions of q, k, v and o; HND if not set.
     *
     * @param value the order of the dimensions of q, k, v and o; HND if not set
     * @return this builder
     */
    public Builder layout(TensorLayout value) {
      layout = require(value, "layout", "HND or NHD");
      return this;
    }

    /**
     * Which keys a query sees; NONE masks nothing and is the default.
     *
     * @param value which keys a query sees; NONE masks nothing and is the default
     * @return this builder
     */
    public Builder causalMask(CausalMask value) {
      causalMask = require(value, "causalMask", "NONE, TOP_LEFT or BOTTOM_RIGHT");
      return this;
    }

    /**
     * What multiplies q k^T: any finite number, 0 and negative ones included; 1 / sqrt(head_dim) if
     * not set.
     *
     * @param value what multiplies q k^T: any finite number, 0 and negative ones included; 1 /
     *     sqrt(head_dim) if not set
     * @return this builder
     */
    public Builder smScale(float value) {
      if (!Float.isFinite(value)) {
        throw new InvalidAttentionArgumentException(
            "smScale is " + value + "; a finite number is accepted");
      }
      smScale = value;
      return this;
    }

    /**
     * How many rows of Q and K share one INT8 scale; PER_THREAD if not set.
     *
     * @param value how many rows of Q and K share one INT8 scale; PER_THREAD if not set
     * @return this builder
     */
    public Builder quantGranularity(QuantGranularity value) {
      quantGranularity = require(value, "quantGranularity", "PER_BLOCK, PER_WARP or PER_THREAD");
      return this;
    }

    /**
     * The accumulator of P*V in the quantised kernels; DEFAULT is the most accurate one of the
     * kernel.
     *
     * @param value the accumulator of P*V in the quantised kernels; DEFAULT is the most accurate
     *     one of the kernel
     * @return this builder
     */
    public Builder pvAccumulator(PvAccumulator value) {
      pvAccumulator = require(value, "pvAccumulator", "a PvAccumulator");
      return this;
    }

    /**
     * Whether to subtract the mean of K before INT8; true if not set.
     *
     * @param value whether to subtract the mean of K before INT8; true if not set
     * @return this builder
     */
    public Builder smoothK(boolean value) {
      smoothK = value;
      return this;
    }

    /**
     * Which SageAttention kernel the sage backend runs; AUTO if not set.
     *
     * @param value which SageAttention kernel the sage backend runs; AUTO if not set
     * @return this builder
     */
    public Builder sageKernel(SageKernel value) {
      sageKernel = require(value, "sageKernel", "a SageKernel");
      return this;
    }

    /**
     * What the sparge backend may leave out; see {@link AttentionOptions#sparsity} for what holds
     * if not set. {@link SparsityOptions#OFF} keeps it from serving.
     *
     * @param value what the sparge backend may leave out; see {@link AttentionOptions#sparsity} for
     *     what holds if not set
     * @return this builder
     */
    public Builder sparsity(SparsityOptions value) {
      sparsity = require(value, "sparsity", "a SparsityOptions");
      return this;
    }

    /**
     * How the chain decides whether SpargeAttn serves; see {@link AttentionOptions#sparsityRule}
     * for what holds if not set.
     *
     * @param value LEARN, FROZEN or ALWAYS
     * @return this builder
     */
    public Builder sparsityRule(SparsityRule value) {
      sparsityRule = require(value, "sparsityRule", "LEARN, FROZEN or ALWAYS");
      return this;
    }

    /**
     * A name for the place that calls come from, such as a layer of a model. What SpargeAttn leaves
     * out is learnt for each name and shape; layers of one shape that have no names are taken
     * together.
     *
     * @param value any text; empty, as if not set: no name
     * @return this builder
     */
    public Builder callSite(String value) {
      callSite = require(value, "callSite", "a name");
      return this;
    }

    /**
     * The picture or video that the tokens of self-attention are, in raster order. SpargeAttn then
     * takes them along a Hilbert curve, in which it can leave out more; q, k, v, o and the LSE stay
     * in their order. Dense attention doesn't mind, and serves as without. SpargeAttn refuses
     * causal masks, key lengths and other lengths of q and k with it, and serves it in FP8 on
     * Hopper alone. The first call of a grid makes a table on the GPU, which waits for a copy: not
     * during a graph's capture.
     *
     * @param value the grid, or null: none
     * @return this builder
     */
    public Builder tokenGrid(TokenGrid value) {
      tokenGrid = value;
      return this;
    }

    /**
     * As {@link #tokenGrid(TokenGrid)}, for a grid that the sequence begins with.
     *
     * @param frames of the video; 1 for a picture
     * @param height in tokens
     * @param width in tokens
     * @return this builder
     */
    public Builder tokenGrid(int frames, int height, int width) {
      return tokenGrid(TokenGrid.of(frames, height, width));
    }

    /**
     * The backend to start with; AUTO if not set.
     *
     * @param value the backend to start with; AUTO if not set
     * @return this builder
     */
    public Builder backend(SdpaBackend value) {
      backend = require(value, "backend", "an SdpaBackend");
      return this;
    }

    /**
     * How strictly the backend is meant; PREFER if not set.
     *
     * @param value how strictly the backend is meant; PREFER if not set
     * @return this builder
     */
    public Builder mode(BackendMode value) {
      mode = require(value, "mode", "PREFER, REQUIRE or OFF");
      return this;
    }

    /**
     * {@return the options}
     *
     * @throws InvalidAttentionArgumentException if the mode is OFF and the backend a quantised one
     */
    public AttentionOptions build() {
      if (mode == BackendMode.OFF
          && (backend == SdpaBackend.SPARGE || backend == SdpaBackend.SAGE)) {
        throw new InvalidAttentionArgumentException(
            "mode is OFF, which switches the quantised backends off, and backend is "
                + backend
                + "; with OFF one of AUTO, EXACT, PYTORCH, CPU is accepted");
      }
      return new AttentionOptions(this);
    }

    private static <T> T require(T value, String name, String accepted) {
      if (value == null) {
        throw new InvalidAttentionArgumentException(name + " is null; " + accepted + " is needed");
      }
      return value;
    }
  }
}
