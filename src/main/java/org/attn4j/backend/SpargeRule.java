package org.attn4j.backend;

import org.attn4j.AttentionRequest;

/**
 * When sparsity can pay, for requests that leave the backend to the chain. Dense attention answers
 * such a request at least as exactly, so refusing costs speed at most. Internal.
 */
public final class SpargeRule {
  /** From so many keys on sparsity is tried: the least that a kernel's plan answers. */
  public static final long MIN_KEYS = 4096;

  private SpargeRule() {}

  /** A call site's name as the number that tells it from others, the same in every process. */
  public static long callSite(String name) {
    return NativeCodes.ofCallSite(name);
  }

  /** Why sparsity won't pay, or null. */
  static String refusal(AttentionRequest request) {
    // Without the number of keys: a reason is logged once, and a program has many lengths.
    long keys = request.dims().keys();
    if (keys < MIN_KEYS) {
      return "sparsity is tried from " + MIN_KEYS + " keys on, or if the backend is chosen by name";
    }
    Support dense = NativeAttention.supports(NativeKernel.SAGE, request);
    if (!dense.supported() || keys >= dense.plan().sparseFrom()) {
      return null;
    }
    return dense.plan().neverSparse()
        ? "the dense " + dense.reason() + " is faster here; choose the backend by name to use it"
        : "beside the dense "
            + dense.reason()
            + " sparsity is tried from "
            + dense.plan().sparseFrom()
            + " keys on, or if the backend is chosen by name";
  }
}
