package org.attn4j.pytorch;

import java.util.List;
import java.util.Optional;
import java.util.function.Function;
import org.attn4j.AttentionOptions;
import org.attn4j.BackendVerdict;
import org.attn4j.BlockGrid;
import org.attn4j.CausalMask;
import org.attn4j.InvalidAttentionArgumentException;
import org.attn4j.SdpaBackend;
import org.attn4j.SparsityOptions;
import org.attn4j.TensorLayout;
import org.attn4j.torch.TorchHook;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;

/**
 * A drop-in for {@code torch.scaled_dot_product_attention}: the same arguments in the same order,
 * served by the first of SpargeAttn, SageAttention, our exact kernel and PyTorch's own SDPA that
 * serves the call exactly as it is.
 *
 * <pre>{@code
 * - Tensor o = torch.scaled_dot_product_attention(q, k, v);
 * + Tensor o = Attn4j.scaled_dot_product_attention(q, k, v);
 * }</pre>
 *
 * <p><b>What our kernels serve:</b> CUDA tensors in fp16 or bf16 of rank 3 or 4 with contiguous
 * channels, any other strides, batch and heads broadcast as PyTorch does it, causal or not, with
 * any scale. <b>What PyTorch serves:</b> the rest, with its own result: tensors on the CPU, fp32
 * and fp64, dropout, most masks (see {@link #inspectDeviceMasks}), required gradients, autocast,
 * other ranks, value channels that differ from query's, empty tensors. Forward-mode gradients (dual
 * tensors) are not looked for.
 *
 * <p>{@link TorchSparsity} holds thresholds per head, a block mask and reports for SpargeAttn.
 *
 * <p>The result is a new tensor, owned like PyTorch's own: by the innermost {@code PointerScope},
 * or by the program. Its dimensions lie in memory in the order of query's. Everything else that a
 * call makes is freed before it returns; scratch memory on the GPU comes from PyTorch's allocator.
 * Kernels go to PyTorch's current stream of query's device, and the call doesn't wait for them.
 *
 * <p><b>Choosing:</b> options of the call that name a backend or a mode come first, then the
 * thread's innermost {@link #use} scope, then {@link #setDefaults}, then the system property {@code
 * org.attn4j.backend}. {@code LD_DISABLE_SAGE_ATTENTION=1} in the environment switches the
 * quantised backends off. All methods may be called from any thread.
 */
public final class Attn4j {
  private Attn4j() {}

  /**
   * Lets our kernels serve {@code torch.scaled_dot_product_attention} itself, wherever it is called
   * in this process: in TorchScript models too, which no line can change. {@link TorchHook} has the
   * details, the counts and the switch. Scopes, {@link #setDefaults} and {@link #setThresholds}
   * hold for it; block masks, mask inspection and {@link #checkFirst} don't.
   *
   * @return empty if it is installed; otherwise one sentence that says why not
   */
  public static Optional<String> install() {
    return TorchHook.install();
  }

  /**
   * {@return attention without a mask, with the scale 1/sqrt(channels)}
   *
   * @param query (..., queries, channels)
   * @param key (..., keys, channels)
   * @param value (..., keys, value channels)
   */
  public static Tensor scaled_dot_product_attention(Tensor query, Tensor key, Tensor value) {
    return Dispatch.run(call(query, key, value, Dispatch.ambientWith(CausalMask.NONE, Float.NaN)));
  }

  /**
   * {@return attention with PyTorch's arguments, which mean what they mean there}
   *
   * @param query (..., queries, channels)
   * @param key (..., keys, channels)
   * @param value (..., keys, value channels)
   * @param attn_mask boolean (true: counts) or added to the scores; null or empty: none
   * @param dropout_p the probability of dropping a weight
   * @param is_causal whether query i sees the keys 0 to i alone
   * @param scale what multiplies the scores; null or empty: 1/sqrt(channels)
   * @param enable_gqa whether key and value may have fewer heads than query
   * @throws InvalidAttentionArgumentException if an argument is wrong; PyTorch refuses these too
   * @throws org.attn4j.UnsupportedAttentionException if mode REQUIRE leaves no backend that serves
   */
  public static Tensor scaled_dot_product_attention(
      Tensor query,
      Tensor key,
      Tensor value,
      TensorOptional attn_mask,
      double dropout_p,
      boolean is_causal,
      DoubleOptional scale,
      boolean enable_gqa) {
    return Dispatch.run(
        pytorchCall(
            new SdpaCall(
                query, key, value, attn_mask, dropout_p, scale, enable_gqa, null, Packing.HND, 0),
            is_causal));
  }

  /**
   * {@return attention with options: the layout of the tensors, causal mask (bottom-right too),
   * scale, precision, backend and mode} Key and value may have fewer heads than query.
   *
   * @param query (..., queries, channels)
   * @param key (..., keys, channels)
   * @param value (..., keys, value channels)
   * @param options how to compute it
   */
  public static Tensor scaled_dot_product_attention(
      Tensor query, Tensor key, Tensor value, AttentionOptions options) {
    return scaled_dot_product_attention(query, key, value, null, options);
  }

  /**
   * As {@link #scaled_dot_product_attention(Tensor, Tensor, Tensor, AttentionOptions)}, with a mask
   * of (batch, heads, queries, keys) or what broadcasts to it, whatever the layout; null: none.
   *
   * @param query (..., queries, channels)
   * @param key (..., keys, channels)
   * @param value (..., keys, value channels)
   * @param attnMask broadcast to (batch, heads, queries, keys); null for none
   * @param options how to compute it
   * @return the output
   */
  public static Tensor scaled_dot_product_attention(
      Tensor query, Tensor key, Tensor value, Tensor attnMask, AttentionOptions options) {
    return masked(optionsCall(query, key, value, options), attnMask, Dispatch::run);
  }

  /**
   * As {@link #scaled_dot_product_attention(Tensor, Tensor, Tensor, Tensor, AttentionOptions)},
   * with thresholds per head or a block mask for SpargeAttn, or tensors that it reports to.
   *
   * @param query (..., queries, channels)
   * @param key (..., keys, channels)
   * @param value (..., keys, value channels)
   * @param attnMask as there; null: none
   * @param options how to compute it
   * @param sparsity tensors on query's device; null: none
   * @return the output
   * @throws InvalidAttentionArgumentException if one of them doesn't fit the call
   * @throws org.attn4j.UnsupportedAttentionException if there is a block mask or a report is asked
   *     for and SpargeAttn doesn't serve the call: nobody else can
   */
  public static Tensor scaled_dot_product_attention(
      Tensor query,
      Tensor key,
      Tensor value,
      Tensor attnMask,
      AttentionOptions options,
      TorchSparsity sparsity) {
    SdpaCall call = optionsCall(query, key, value, options).withSparsity(sparsity);
    return masked(call, attnMask, Dispatch::run);
  }

  /**
   * {@return attention over packed heads, as the attention of a UNet or a DiT has them after its
   * linear projections: (batch, sequence, heads * channels) in and out} Nothing is copied, and the
   * scale is that of the channels of one head.
   *
   * @param query (batch, queries, heads * channels)
   * @param key (batch, keys, heads * channels)
   * @param value (batch, keys, heads * channels)
   * @param heads how many heads lie side by side
   */
  public static Tensor attention(Tensor query, Tensor key, Tensor value, int heads) {
    return attention(query, key, value, heads, null);
  }

  /**
   * As {@link #attention(Tensor, Tensor, Tensor, int)}, with a mask; null: none.
   *
   * @param query (batch, queries, heads * channels)
   * @param key (batch, keys, heads * channels)
   * @param value (batch, keys, heads * channels)
   * @param heads how many heads lie side by side
   * @param attnMask broadcast to (batch, heads, queries, keys); null for none
   * @return the output
   */
  public static Tensor attention(
      Tensor query, Tensor key, Tensor value, int heads, Tensor attnMask) {
    AttentionOptions options = Dispatch.ambientWith(CausalMask.NONE, Float.NaN);
    return masked(packedCall(query, key, value, heads, options), attnMask, Dispatch::run);
  }

  /**
   * As {@link #attention(Tensor, Tensor, Tensor, int)}, with all that {@link
   * #scaled_dot_product_attention(Tensor, Tensor, Tensor, Tensor, AttentionOptions, TorchSparsity)}
   * takes.
   *
   * @param query (batch, queries, heads * channels)
   * @param key (batch, keys, heads * channels)
   * @param value (batch, keys, heads * channels)
   * @param heads how many heads lie side by side
   * @param attnMask (batch, heads, queries, keys) or what broadcasts to it; null: none
   * @param options causal mask, scale, precision, backend and mode; packed heads have a layout of
   *     their own, so the options name none
   * @param sparsity tensors on query's device; null: none
   * @return the output
   */
  public static Tensor attention(
      Tensor query,
      Tensor key,
      Tensor value,
      int heads,
      Tensor attnMask,
      AttentionOptions options,
      TorchSparsity sparsity) {
    SdpaCall call = packedCall(query, key, value, heads, packedOptions(options));
    return masked(call.withSparsity(sparsity), attnMask, Dispatch::run);
  }

  /**
   * {@return what each backend would answer to {@link #scaled_dot_product_attention(Tensor, Tensor,
   * Tensor)}, in the order of the chain; the first that serves would run} Runs nothing.
   *
   * @param query (..., queries, channels)
   * @param key (..., keys, channels)
   * @param value (..., keys, value channels)
   */
  public static List<BackendVerdict> explain(Tensor query, Tensor key, Tensor value) {
    return Dispatch.explain(
        call(query, key, value, Dispatch.ambientWith(CausalMask.NONE, Float.NaN)));
  }

  /**
   * As {@link #explain(Tensor, Tensor, Tensor)}, with PyTorch's arguments.
   *
   * @param query (..., queries, channels)
   * @param key (..., keys, channels)
   * @param value (..., keys, value channels)
   * @param attn_mask as in PyTorch; null for none
   * @param dropout_p as in PyTorch
   * @param is_causal as in PyTorch
   * @param scale as in PyTorch; null for 1/sqrt(channels)
   * @param enable_gqa as in PyTorch
   * @return each backend's answer, in the order of the chain
   */
  public static List<BackendVerdict> explain(
      Tensor query,
      Tensor key,
      Tensor value,
      TensorOptional attn_mask,
      double dropout_p,
      boolean is_causal,
      DoubleOptional scale,
      boolean enable_gqa) {
    return Dispatch.explain(
        pytorchCall(
            new SdpaCall(
                query, key, value, attn_mask, dropout_p, scale, enable_gqa, null, Packing.HND, 0),
            is_causal));
  }

  /**
   * As {@link #explain(Tensor, Tensor, Tensor)}, with a mask (or null) and options.
   *
   * @param query (..., queries, channels)
   * @param key (..., keys, channels)
   * @param value (..., keys, value channels)
   * @param attnMask broadcast to (batch, heads, queries, keys); null for none
   * @param options how to compute it
   * @return each backend's answer, in the order of the chain
   */
  public static List<BackendVerdict> explain(
      Tensor query, Tensor key, Tensor value, Tensor attnMask, AttentionOptions options) {
    return masked(optionsCall(query, key, value, options), attnMask, Dispatch::explain);
  }

  /**
   * As {@link #explain(Tensor, Tensor, Tensor)}, with a mask, options and sparsity (or null).
   *
   * @param query (..., queries, channels)
   * @param key (..., keys, channels)
   * @param value (..., keys, value channels)
   * @param attnMask broadcast to (batch, heads, queries, keys); null for none
   * @param options how to compute it
   * @param sparsity thresholds per head, a block mask, reports; null for none
   * @return each backend's answer, in the order of the chain
   */
  public static List<BackendVerdict> explain(
      Tensor query,
      Tensor key,
      Tensor value,
      Tensor attnMask,
      AttentionOptions options,
      TorchSparsity sparsity) {
    SdpaCall call = optionsCall(query, key, value, options).withSparsity(sparsity);
    return masked(call, attnMask, Dispatch::explain);
  }

  /**
   * As {@link #explain(Tensor, Tensor, Tensor)}, for {@link #attention} with all arguments.
   *
   * @param query (batch, queries, heads * channels)
   * @param key (batch, keys, heads * channels)
   * @param value (batch, keys, heads * channels)
   * @param heads how many heads lie side by side
   * @param attnMask broadcast to (batch, heads, queries, keys); null for none
   * @param options how to compute it
   * @param sparsity thresholds per head, a block mask, reports; null for none
   * @return each backend's answer, in the order of the chain
   */
  public static List<BackendVerdict> explain(
      Tensor query,
      Tensor key,
      Tensor value,
      int heads,
      Tensor attnMask,
      AttentionOptions options,
      TorchSparsity sparsity) {
    SdpaCall call = packedCall(query, key, value, heads, packedOptions(options));
    return masked(call.withSparsity(sparsity), attnMask, Dispatch::explain);
  }

  /**
   * {@return how SpargeAttn divides a call into blocks: the last two sizes of {@link
   * TorchSparsity#blockMask} and {@link TorchSparsity#blockMap}} Runs nothing.
   *
   * @param query (..., queries, channels)
   * @param key (..., keys, channels)
   * @param value (..., keys, value channels)
   * @param options how to compute it
   * @throws org.attn4j.UnsupportedAttentionException if SpargeAttn can't serve the call
   */
  public static BlockGrid blockGrid(
      Tensor query, Tensor key, Tensor value, AttentionOptions options) {
    return Dispatch.blockGrid(optionsCall(query, key, value, dense(CallCheck.options(options))));
  }

  /**
   * As {@link #blockGrid(Tensor, Tensor, Tensor, AttentionOptions)}, for {@link #attention}.
   *
   * @param query (batch, queries, heads * channels)
   * @param key (batch, keys, heads * channels)
   * @param value (batch, keys, heads * channels)
   * @param heads how many heads lie side by side
   * @param options how to compute it
   * @return the blocks
   */
  public static BlockGrid blockGrid(
      Tensor query, Tensor key, Tensor value, int heads, AttentionOptions options) {
    return Dispatch.blockGrid(packedCall(query, key, value, heads, dense(packedOptions(options))));
  }

  /**
   * Starts at this backend for the calls of this thread that don't choose, until the scope is
   * closed.
   *
   * <pre>{@code
   * try (var scope = Attn4j.use(SdpaBackend.PYTORCH)) {
   *   model.forward(x);
   * }
   * }</pre>
   *
   * @param backend the backend
   * @return the scope, to be closed on this thread
   */
  public static AttentionScope use(SdpaBackend backend) {
    return use(AttentionOptions.builder().backend(backend).build());
  }

  /**
   * As {@link #use(SdpaBackend)}, with mode, precision and sparsity too.
   *
   * @param options the options; no layout, causal mask or scale
   * @return the scope, to be closed on this thread
   * @throws InvalidAttentionArgumentException if the options set a layout, a causal mask or a
   *     scale: those belong to a call
   */
  public static AttentionScope use(AttentionOptions options) {
    return AttentionScope.open(CallCheck.scopeOptions(options));
  }

  /**
   * Options of all calls of the process that neither choose nor lie in a scope.
   *
   * @param options the options; no layout, causal mask or scale
   * @throws InvalidAttentionArgumentException as {@link #use(AttentionOptions)}
   */
  public static void setDefaults(AttentionOptions options) {
    CallCheck.scopeOptions(options);
    Dispatch.change(now -> now.withDefaults(options));
  }

  /**
   * Where auto mode starts, by size; {@link Thresholds#NONE} to start at the head of the chain
   * always.
   *
   * @param thresholds the table
   */
  public static void setThresholds(Thresholds thresholds) {
    if (thresholds == null) {
      throw new InvalidAttentionArgumentException(
          "thresholds is null; Thresholds.NONE or a table is needed");
    }
    Dispatch.change(now -> now.withThresholds(thresholds));
  }

  /**
   * {@return the table that {@link #setThresholds} set last, or the one that this version came
   * with}
   */
  public static Thresholds thresholds() {
    return Dispatch.settings().thresholds();
  }

  /**
   * Compares the first calls of each shape that our kernels serve with PyTorch's SDPA and logs
   * cosine similarity and relative L1 under the logger {@code org.attn4j}. A shape whose output has
   * a number that is not finite where PyTorch's is gets PyTorch's result, then and later. Such a
   * comparison waits for the GPU; captured calls are not compared.
   *
   * @param callsPerShape how many; 0 switches the check off and forgets what it found
   */
  public static void checkFirst(int callsPerShape) {
    if (callsPerShape < 0) {
      throw new InvalidAttentionArgumentException(
          "callsPerShape is " + callsPerShape + "; 0 or more is accepted");
    }
    Dispatch.change(now -> now.withCheck(callsPerShape));
  }

  /**
   * Whether the elements of a mask on the GPU may be read to see if our kernels can do without it:
   * when it masks nothing, or only the end of each batch entry's keys (padding). Reading waits for
   * the stream, so it is off unless switched on; PyTorch serves calls with a mask then, but for
   * boolean masks of keys, (batch, 1, 1, keys), which our kernels read on the device. Masks are
   * never read during a graph capture. Masks on the CPU, of CPU tensors, are always read. Where the
   * exact backend is chosen, its kernels read masks on the device, and this doesn't matter.
   *
   * @param inspect true to read them
   */
  public static void inspectDeviceMasks(boolean inspect) {
    Dispatch.change(now -> now.withInspection(inspect));
  }

  private static SdpaCall call(Tensor query, Tensor key, Tensor value, AttentionOptions options) {
    return new SdpaCall(
        query, key, value, null, 0, null, false, options, packing(query, options), 0);
  }

  private static SdpaCall pytorchCall(SdpaCall call, boolean causal) {
    DoubleOptional scale = call.scale();
    float value = scale != null && scale.has_value() ? (float) scale.get() : Float.NaN;
    AttentionOptions options =
        Dispatch.ambientWith(causal ? CausalMask.TOP_LEFT : CausalMask.NONE, value);
    return call.withOptions(options).withPacking(packing(call.query(), options));
  }

  private static SdpaCall optionsCall(
      Tensor query, Tensor key, Tensor value, AttentionOptions options) {
    AttentionOptions all = Dispatch.inScope(CallCheck.options(options));
    Packing packing = packing(query, all);
    boolean grouped = packing.rank() == 4;
    return new SdpaCall(query, key, value, null, 0, null, grouped, all, packing, 0);
  }

  private static SdpaCall packedCall(
      Tensor query, Tensor key, Tensor value, int heads, AttentionOptions options) {
    return new SdpaCall(
        query, key, value, null, 0, null, false, options, Packing.PACKED_HEADS, heads);
  }

  private static AttentionOptions packedOptions(AttentionOptions options) {
    if (CallCheck.options(options).layout() != TensorLayout.HND) {
      throw new InvalidAttentionArgumentException(
          "options.layout is "
              + options.layout()
              + "; packed heads have a layout of their own, and the default is accepted");
    }
    return Dispatch.inScope(options);
  }

  private static AttentionOptions dense(AttentionOptions options) {
    return options.toBuilder().sparsity(SparsityOptions.OFF).build();
  }

  private static Packing packing(Tensor query, AttentionOptions options) {
    Packing packing = Packing.of(options.layout());
    boolean rankThree = query != null && !query.isNull() && query.defined() && query.dim() == 3;
    return packing == Packing.HND && rankThree ? Packing.SINGLE_HEAD : packing;
  }

  private static <R> R masked(SdpaCall call, Tensor mask, Function<SdpaCall, R> action) {
    if (mask == null) {
      return action.apply(call);
    }
    try (TensorOptional optional = new TensorOptional(mask)) {
      return action.apply(call.withMask(optional));
    }
  }
}
