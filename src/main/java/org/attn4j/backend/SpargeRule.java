package org.attn4j.backend;

import org.attn4j.AttentionRequest;

/**
 * When sparsity can pay, for requests that leave the backend to the chain. Dense attention answers
 * such a request at least as exactly, so refusing costs speed at most.
 */
final class SpargeRule {
  // On an H200 predicting takes 3.4 % of the dense time at 8192 keys (docs/sparge.md), and twice
  // the share at half the keys. Where this pays on other GPUs is still to be measured.
  private static final long MIN_KEYS = 4096;

  // The dense kernels on Hopper's warpgroup instructions; SpargeAttn has none there yet.
  private static final String WARPGROUP = "wgmma";

  private SpargeRule() {}

  /** Why sparsity won't pay, or null. */
  static String refusal(AttentionRequest request) {
    if (request.dims().keys() < MIN_KEYS) {
      // Without the number of keys: a reason is logged once, and a program has many lengths.
      return "sparsity is tried from " + MIN_KEYS + " keys on, or if the backend is chosen by name";
    }
    Support dense = NativeAttention.supports(NativeKernel.SAGE, request);
    if (dense.supported() && dense.reason().contains(WARPGROUP)) {
      return "the dense "
          + dense.reason()
          + " is faster here unless most blocks are left out; choose the backend by name to use it";
    }
    return null;
  }
}
