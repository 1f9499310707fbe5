package org.attn4j.distributed;

import org.attn4j.AttentionOptions;
import org.attn4j.CausalMask;
import org.attn4j.DType;
import org.attn4j.InvalidAttentionArgumentException;
import org.attn4j.TensorLayout;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;

/**
 * Scaled dot-product attention of a sequence that is spread over the ranks of a {@link World}: each
 * rank gives its tokens' q, k and v and gets the same tokens' output. Exact, whatever the mesh:
 * what differs from attention in one process is the order in which FP32 sums are added up.
 *
 * <p>Sizes are fixed, and so is the memory: what a call needs was allocated by {@link
 * Builder#build}, apart from the output and, in a ring, the partial outputs of a step. Calls are
 * collective. On a GPU they enqueue their work on the current stream and return.
 */
public final class SequenceAttention implements AutoCloseable {
  private final Rank rank;
  private final AttentionOptions options;
  private final KeyExchange keys;
  private final LocalAttention attention;
  private final HeadExchange heads; // null: positions have one member
  private final LocalTokens local; // null: they have more
  private final KeyLoop loop; // null: there is one position
  private final Tensor output; // null: the result's own memory serves
  private boolean closed;

  private SequenceAttention(Builder builder, int cudaDevice, AttentionOptions options) {
    this.options = options;
    keys = builder.keys;
    rank = new Rank(builder.world, builder.layout, builder.shape(), cudaDevice);
    attention = new LocalAttention(rank.split, options, cudaDevice);
    boolean spread = rank.ulysses() > 1;
    heads = spread ? new HeadExchange(rank, rank.ulyssesExchange()) : null;
    local = spread ? null : new LocalTokens(rank);
    loop = rank.ring() > 1 ? loop(builder.keys) : null;
    AttentionShape shape = rank.shape;
    output =
        spread || shape.joint() > 0
            ? rank.buffer(rank.rows(), shape.batch(), rank.headCount(), shape.headDim())
            : null;
  }

  private KeyLoop loop(KeyExchange keys) {
    Exchange exchange = rank.ringExchange();
    return keys == KeyExchange.RING
        ? new RingLoop(rank, attention, exchange)
        : new GatherLoop(rank, attention, exchange);
  }

  /**
   * How this rank computes, in a few lines: mesh, tokens, heads, memory.
   *
   * @return lines of text
   */
  public String explain() {
    SequenceMesh mesh = rank.layout.mesh();
    String how =
        mesh.ring() == 1
            ? "keys and values arrive with their heads"
            : "keys and values come by " + keys;
    return mesh.explain()
        + "\nrank "
        + rank.world.rank()
        + ": tokens "
        + rank.layout.ranges(rank.world.rank())
        + ", query heads "
        + rank.firstHead()
        + " to "
        + (rank.firstHead() + rank.headCount() - 1)
        + " of "
        + rank.positionTokens()
        + " tokens, "
        + how
        + ", "
        + rank.bufferBytes()
        + " bytes of buffers";
  }

  /**
   * A builder for a world and a layout of its size.
   *
   * @param world the ranks
   * @param layout of which tokens are where
   * @return a builder
   */
  public static Builder builder(World world, SequenceLayout layout) {
    return new Builder(world, layout);
  }

  /**
   * Collective: attention of this rank's tokens to the tokens of all ranks.
   *
   * @param q (batch, heads, tokens of this rank, headDim), or (batch, tokens, heads, headDim) if
   *     the options say NHD; any strides
   * @param k the same with kvHeads
   * @param v of k's sizes
   * @return of q's sizes and type, contiguous; the caller closes it
   * @throws InvalidAttentionArgumentException if a tensor isn't as the builder was told; nothing
   *     was sent then
   * @throws RankException if a peer was lost or did not answer in time
   */
  public Tensor attend(Tensor q, Tensor k, Tensor v) {
    if (rank.shape.joint() > 0) {
      throw new InvalidAttentionArgumentException(
          "the joint tokens' q, k and v are missing; this attention was built for "
              + rank.shape.joint()
              + " of them");
    }
    requireOpen();
    return Tensors.scoped(() -> run(new Inputs(q, k, v, null, null, null)).tokens());
  }

  /**
   * As {@link #attend(Tensor, Tensor, Tensor)}, with tokens that every rank has, such as the text
   * of a video model: all tokens see them, and they see all.
   *
   * @param q this rank's queries
   * @param k this rank's keys
   * @param v this rank's values
   * @param jointQ as q, with the joint tokens; the same on every rank, as are jointK and jointV
   * @param jointK the joint keys
   * @param jointV the joint values
   * @return the outputs; the caller closes them
   */
  @SuppressWarnings("try") // the scope is there to be closed
  public JointOutput attend(
      Tensor q, Tensor k, Tensor v, Tensor jointQ, Tensor jointK, Tensor jointV) {
    if (rank.shape.joint() == 0) {
      throw new InvalidAttentionArgumentException(
          "there are joint tokens; this attention was built without, see Builder.jointTokens");
    }
    requireOpen();
    JointOutput inside;
    try (PointerScope temporaries = new PointerScope()) {
      inside = run(new Inputs(q, k, v, jointQ, jointK, jointV));
      Tensors.keep(inside.tokens());
      Tensors.keep(inside.joint());
    }
    JointOutput result = new JointOutput(new Tensor(inside.tokens()), new Tensor(inside.joint()));
    inside.close();
    return result;
  }

  private void requireOpen() {
    if (closed) {
      throw new IllegalStateException("the attention is closed; use it before close()");
    }
  }

  /** What a call was given; the last three are null without joint tokens. */
  private record Inputs(Tensor q, Tensor k, Tensor v, Tensor jq, Tensor jk, Tensor jv) {}

  /** The inputs as views (tokens, batch, heads, headDim). */
  private Inputs views(Inputs in) {
    AttentionShape shape = rank.shape;
    Operands operands = new Operands(shape, options.layout(), rank.cudaDevice);
    long tokens = rank.tokens();
    boolean joint = shape.joint() > 0;
    return new Inputs(
        operands.view("q", in.q(), tokens, shape.heads()),
        operands.view("k", in.k(), tokens, shape.kvHeads()),
        operands.view("v", in.v(), tokens, shape.kvHeads()),
        joint ? operands.view("jointQ", in.jq(), shape.joint(), shape.heads()) : null,
        joint ? operands.view("jointK", in.jk(), shape.joint(), shape.kvHeads()) : null,
        joint ? operands.view("jointV", in.jv(), shape.joint(), shape.kvHeads()) : null);
  }

  private JointOutput run(Inputs given) {
    Inputs in = views(given);
    rank.world.requireUsable();
    Tensor tokens = allocate(rank.tokens());
    Tensor joint = rank.shape.joint() > 0 ? allocate(rank.shape.joint()) : null;
    Tensor tokensView = Operands.tokensFirst(tokens, options.layout());
    Tensor jointView = joint == null ? null : Operands.tokensFirst(joint, options.layout());
    if (heads != null) {
      heads.distribute(in.q(), in.k(), in.v());
      if (joint != null) {
        heads.append(in.jq(), in.jk(), in.jv());
      }
      compute(heads.queries(), heads.keysValues(), output);
      heads.collect(output, tokensView, jointView);
      return new JointOutput(tokens, joint);
    }
    Tensor queries = local.queries(in.q(), in.jq());
    KeysValues keys = local.keysValues(in.k(), in.v(), in.jk(), in.jv());
    compute(queries, keys, output == null ? tokensView : output);
    if (joint != null) {
      tokensView.copy_(output.narrow(0, 0, rank.tokens()));
      jointView.copy_(output.narrow(0, rank.tokens(), rank.shape.joint()));
    }
    return new JointOutput(tokens, joint);
  }

  private void compute(Tensor q, KeysValues own, Tensor o) {
    if (loop != null) {
      loop.attend(q, own, o);
      return;
    }
    CausalMask mask = rank.layout.isCausal() ? CausalMask.TOP_LEFT : CausalMask.NONE;
    attention.run(q, rank.firstHead(), own.k(), own.v(), o, null, mask);
  }

  private Tensor allocate(long tokens) {
    AttentionShape shape = rank.shape;
    return options.layout() == TensorLayout.HND
        ? Tensors.empty(
            shape.type(), rank.cudaDevice, shape.batch(), shape.heads(), tokens, shape.headDim())
        : Tensors.empty(
            shape.type(), rank.cudaDevice, shape.batch(), tokens, shape.heads(), shape.headDim());
  }

  /** Frees the buffers. The world stays as it is. */
  @Override
  public void close() {
    if (!closed) {
      closed = true;
      rank.close();
    }
  }

  /** Builds a {@link SequenceAttention}. The heads are needed; the rest is optional. */
  public static final class Builder {
    private final World world;
    private final SequenceLayout layout;
    private int batch = 1;
    private int headCount;
    private int kvHeads;
    private int headDim;
    private DType type;
    private int joint;
    private AttentionOptions options = AttentionOptions.DEFAULTS;
    private KeyExchange keys = KeyExchange.RING;
    private Integer cudaDevice;

    private Builder(World world, SequenceLayout layout) {
      this.world = world;
      this.layout = layout;
    }

    /**
     * Query heads, key/value heads (a divisor of the first), channels of a head, and the type.
     *
     * @param heads query heads
     * @param keyHeads key/value heads, a divisor of the first
     * @param channels of a head
     * @param elementType FLOAT16, BFLOAT16 or FLOAT32
     * @return this builder
     */
    public Builder heads(int heads, int keyHeads, int channels, DType elementType) {
      headCount = heads;
      kvHeads = keyHeads;
      headDim = channels;
      type = elementType;
      return this;
    }

    /**
     * The number of sequences; 1 if not set.
     *
     * @param value 1 or more
     * @return this builder
     */
    public Builder batch(int value) {
      batch = value;
      return this;
    }

    /**
     * The number of tokens that every rank has, beside those of the layout; 0 if not set.
     *
     * @param value 0 or more
     * @return this builder
     */
    public Builder jointTokens(int value) {
      joint = value;
      return this;
    }

    /**
     * How a rank computes: scale, kernels, layout of the tensors. The mask is the layout's. In a
     * ring attention is dense: sparsity is switched off, and refused if the sparge backend is asked
     * for.
     *
     * @param value scale, kernels, layout
     * @return this builder
     */
    public Builder options(AttentionOptions value) {
      options = value;
      return this;
    }

    /**
     * How keys and values get to other positions; RING if not set.
     *
     * @param value ring or all-gather
     * @return this builder
     */
    public Builder keyExchange(KeyExchange value) {
      keys = value;
      return this;
    }

    /**
     * The CUDA device of the tensors, -1 for host memory. If not set: the local rank's with NCCL,
     * host memory with Gloo. With Gloo, what leaves a GPU goes through host memory, and the call
     * waits for it.
     *
     * @param value a CUDA device number, or -1
     * @return this builder
     */
    public Builder cudaDevice(int value) {
      cudaDevice = value;
      return this;
    }

    private AttentionShape shape() {
      return new AttentionShape(batch, headCount, kvHeads, headDim, type, joint);
    }

    /**
     * Collective: connects the ranks that will exchange tokens, and allocates.
     *
     * @return the attention; the caller closes it
     * @throws InvalidAttentionArgumentException if the arguments don't fit together
     * @throws RankException MISMATCH on every rank if the ranks' arguments differ: the world can be
     *     used further; PEER_LOST, TIMEOUT or STORE_LOST as everywhere
     */
    public SequenceAttention build() {
      BuilderCheck.check(world, layout, shape(), options, keys);
      BuilderCheck.checkDevice(world, cudaDevice);
      world.requireSame(
          "the attention",
          layout.description()
              + ", "
              + shape().description()
              + ", keyExchange="
              + keys
              + ", transport="
              + world.options().transport()
              + ", "
              + options);
      int device = cudaDevice == null ? BuilderCheck.device(world) : cudaDevice;
      return new SequenceAttention(this, device, BuilderCheck.effective(options, layout, keys));
    }
  }
}
