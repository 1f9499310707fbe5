package org.attn4j.onnxruntime;

import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession.SessionOptions;
import java.util.Map;
import java.util.Optional;
import org.attn4j.torch.HookOutcome;
import org.attn4j.torch.OrtHost;
import org.attn4j.torch.TorchHook;

/**
 * Serves the nodes {@code com.microsoft.MultiHeadAttention} of ONNX models by our kernels where
 * they can; everything else goes to ONNX Runtime's own kernel for the node.
 *
 * <pre>{@code
 * OrtAttention.register(options).ifPresent(System.err::println); // before the session is made
 * OrtSession session = environment.createSession(model, options);
 * }</pre>
 *
 * <p><b>What is served:</b> query, key and value as three tensors (batch, length, channels) in fp16
 * or bf16 on a GPU (the CUDA execution provider), any scale, unidirectional where query and key are
 * equally long; no bias, no masks, no past. Those are the nodes of diffusion models, whose fused
 * attention has this form. The chain of backends, the system property {@code org.attn4j.backend}
 * and {@code LD_DISABLE_SAGE_ATTENTION=1} are the hook's.
 *
 * <p>All methods may be called from any thread.
 */
public final class OrtAttention {
  private static final String LOADED_ELSEWHERE =
      "the hook's library was loaded by the program itself (PYTORCH_EXTRA_LIBRARY_PATH?), so that"
          + " ONNX Runtime can't be told its file";

  private OrtAttention() {}

  /**
   * Registers the operator in the options of a session that is to be made.
   *
   * @param options the session's options
   * @return empty if it is registered; otherwise one sentence that says why not, and the session
   *     runs with ONNX Runtime's attention
   * @throws OrtException what ONNX Runtime says against a library of operators
   */
  public static Optional<String> register(SessionOptions options) throws OrtException {
    Optional<String> problem = OrtHost.install();
    if (problem.isEmpty() && OrtHost.library() == null) {
      problem = Optional.of(LOADED_ELSEWHERE);
    }
    if (problem.isEmpty()) {
      options.registerCustomOpLibrary(OrtHost.library().toString());
    }
    return problem;
  }

  /**
   * {@return how many nodes were run by which of our kernels, and how many were left to ONNX
   * Runtime and why} Where an outcome's description says PyTorch, ONNX Runtime is meant.
   */
  public static Map<HookOutcome, Long> counts() {
    return OrtHost.counts().byOutcome();
  }

  /** {@return what became of the last node that the calling thread ran; empty if it ran none} */
  public static String explainLast() {
    return OrtHost.explainLast();
  }

  /**
   * Switches the operator off or on again, for all sessions and together with the hook in PyTorch.
   * Off, every node goes to ONNX Runtime's own kernel.
   *
   * @param enabled false to switch it off
   */
  public static void setEnabled(boolean enabled) {
    TorchHook.setEnabled(enabled);
  }
}
