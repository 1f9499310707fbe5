package org.attn4j;

import java.util.Locale;

/**
 * The backends by name, in the order of the chain: the first that supports a request serves it.
 * {@link #AUTO} stands for the whole chain.
 */
public enum SdpaBackend {
  /** Not a backend of its own: the first of the chain that serves. */
  AUTO(""),
  /** SpargeAttn: block-sparse attention on top of SageAttention (arXiv:2502.18137). */
  SPARGE("Using SpargeAttn (Sparse + SageAttention) cross attention"),
  /** SageAttention: INT8 Q*K^T, 16-bit or FP8 P*V (arXiv:2410.02367, arXiv:2411.10958). */
  SAGE("Using SageAttention cross attention"),
  /** The exact fused kernel, 16-bit with fp32 softmax (arXiv:2307.08691). */
  EXACT("Using fused cross attention"),
  /** PyTorch's scaled_dot_product_attention. */
  PYTORCH("Using pytorch cross attention"),
  /** The reference on the CPU, for host tensors. */
  CPU("Using cpu cross attention");

  private final String id;
  private final String firstUseMessage;

  SdpaBackend(String firstUseMessage) {
    this.id = name().toLowerCase(Locale.ROOT);
    this.firstUseMessage = firstUseMessage;
  }

  /** {@return the name in lower case, as the system property {@code org.attn4j.backend} has it} */
  public String id() {
    return id;
  }

  /** {@return the log line when this backend first serves a request of this process} */
  public String firstUseMessage() {
    return firstUseMessage;
  }
}
