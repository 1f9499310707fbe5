package org.attn4j.torch;

import java.lang.System.Logger.Level;
import java.util.List;
import java.util.Optional;
import org.attn4j.AttentionOptions;

/**
 * Serves every {@code aten::scaled_dot_product_attention} of this process by our kernels where they
 * can: in TorchScript models, in programs of DJL and of bytedeco's PyTorch, in whatever libtorch is
 * loaded, without a changed line in them. Everything else goes on to PyTorch's own implementation,
 * with its result, its exceptions and its gradients.
 *
 * <pre>{@code
 * TorchHook.install().ifPresent(System.err::println); // once, before the models run
 * }</pre>
 *
 * <p><b>What is served:</b> what {@code org.attn4j.pytorch.Attn4j} serves, by the same chain:
 * tensors on a GPU in fp16 or bf16 of rank 3 or 4 with contiguous channels, any other strides,
 * batch and heads broadcast as PyTorch does it, enable_gqa, causal or not, any scale, boolean masks
 * of keys; with the exact backend chosen, any mask. {@link HookOutcome} lists what is left to
 * PyTorch. Models run as they were saved: one in fp32 is served under autocast or after it was
 * converted.
 *
 * <p><b>Choosing:</b> the system property {@code org.attn4j.backend} and {@code
 * LD_DISABLE_SAGE_ATTENTION=1} in the environment, as everywhere in attn4j; with attn4j-pytorch
 * also its scopes, defaults and thresholds.
 *
 * <p>The hook is never taken out again: {@link #setEnabled} switches it off. All methods may be
 * called from any thread.
 */
public final class TorchHook {
  private static final System.Logger LOGGER = System.getLogger("org.attn4j");

  private static volatile boolean installed;
  private static AttentionOptions options = AttentionOptions.DEFAULTS; // guarded by the class
  private static List<HookPolicy.Rule> rules = List.of(); // guarded by the class

  private TorchHook() {}

  /**
   * Installs the hook. A second call does nothing. Loads libtorch first if it isn't there yet and
   * only one of bytedeco's and DJL's is on the class path.
   *
   * @return empty if the hook is installed; otherwise one sentence that says why not, and the
   *     program goes on with PyTorch's attention
   */
  public static synchronized Optional<String> install() {
    if (installed) {
      return Optional.empty();
    }
    Optional<String> problem = HookLibrary.load();
    if (problem.isEmpty()) {
      problem = TorchHosts.load();
    }
    if (problem.isEmpty()) {
      problem = HookKernels.install().or(() -> register(HookSettings.cpuLibrary().isPresent()));
    }
    installed = problem.isEmpty();
    return problem;
  }

  private static Optional<String> register(boolean cpu) {
    handPolicyDown();
    return Optional.ofNullable(HookLibrary.install(cpu));
  }

  /** What options and rules make of the chain, for the native code. */
  static synchronized void handPolicyDown() {
    HookLibrary.setPolicy(HookPolicy.encode(options, rules));
  }

  /**
   * As {@link #install}, for ways in that no line of the program asks for: says in the log what
   * came of it.
   */
  public static void installAndLog() {
    try {
      Optional<String> problem = install();
      LOGGER.log(
          Level.INFO,
          problem
              .map(sentence -> "PyTorch's attention stays as it is: " + sentence)
              .orElse("aten::scaled_dot_product_attention is served by attn4j where it can be"));
    } catch (RuntimeException | LinkageError e) {
      LOGGER.log(Level.WARNING, "PyTorch's attention stays as it is", e);
    }
  }

  /** {@return whether the hook is in libtorch's dispatcher} It may be switched off. */
  public static boolean isInstalled() {
    return installed;
  }

  /**
   * Switches the hook off or on again, for all threads. Off, every call goes to PyTorch's own
   * implementation. Calls that run at this moment end as they began.
   *
   * @param enabled false to switch it off
   */
  public static void setEnabled(boolean enabled) {
    HookLibrary.load().ifPresent(TorchHook::fail);
    HookLibrary.setEnabled(enabled);
  }

  private static void fail(String sentence) {
    throw new IllegalStateException(sentence);
  }

  /** {@return whether the hook is installed and not switched off} */
  public static boolean isEnabled() {
    return installed && HookLibrary.isEnabled();
  }

  /**
   * {@return how many calls were served by which kernels, and how many were left to PyTorch and
   * why}
   */
  public static HookCounts counts() {
    return new HookCounts(installed ? HookLibrary.counts() : new long[HookOutcome.values().length]);
  }

  /**
   * {@return what became of the last call that the calling thread made, in one sentence; empty if
   * it made none} The first call with each outcome is logged too, under {@code org.attn4j}.
   */
  public static String explainLast() {
    return installed ? HookLibrary.explainLast() : "";
  }

  /**
   * The options of calls outside of scopes. Internal: attn4j-pytorch hands its own down.
   *
   * @param defaults the options
   * @param thresholds the table
   */
  public static synchronized void setDefaults(
      AttentionOptions defaults, List<HookPolicy.Rule> thresholds) {
    options = defaults;
    rules = List.copyOf(thresholds);
    if (HookLibrary.isLoaded()) {
      handPolicyDown();
    }
  }
}
