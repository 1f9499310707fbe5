package org.attn4j.torch;

/**
 * What became of a call of {@code aten::scaled_dot_product_attention}. The first three were served
 * by our kernels; all others were left to PyTorch's own implementation, for the reason that the
 * constant names.
 */
public enum HookOutcome {
  /** SpargeAttn served. */
  SPARGE,
  /** SageAttention served. */
  SAGE,
  /** The exact kernel served. */
  EXACT,
  /** The hook is switched off: {@link TorchHook#setEnabled}. */
  SWITCHED_OFF,
  /** The drop-in of attn4j-pytorch had decided for PyTorch already. */
  PASSED,
  /** The options of the scope, of the process or a system property name no kernel of ours. */
  OPTIONS,
  /** attn_mask is no boolean mask of keys, the same for all heads and queries. */
  MASK,
  /** dropout_p is not 0. */
  DROPOUT,
  /** The tensors are not all of rank 4, or all of rank 3 without enable_gqa. */
  RANK,
  /** A gradient is required, or a tensor is a dual number of forward-mode gradients. */
  GRADIENT,
  /** scale is not finite. */
  SCALE,
  /** The tensors are not on one GPU that there are kernels for. */
  DEVICE,
  /** The tensors are not all Half, or all BFloat16. */
  TYPE,
  /** A tensor is sparse, nested, negated lazily, a zero tensor, or has no memory. */
  TENSOR,
  /** The channels of a tensor don't lie next to each other. */
  STRIDES,
  /** A tensor is empty, value has other channels than query, or the sizes don't fit. */
  SHAPE,
  /** The program has left only one of PyTorch's own attention kernels enabled, or none. */
  SDPA_BACKENDS,
  /** The measured thresholds name PyTorch for this size. */
  THRESHOLDS,
  /** No kernel serves the call; {@link TorchHook#explainLast} has what the kernels said. */
  KERNELS,
  /** A kernel could not be started, or there was no memory. */
  FAILED;

  /** {@return whether our kernels served} */
  public boolean isServed() {
    return compareTo(EXACT) <= 0;
  }
}
