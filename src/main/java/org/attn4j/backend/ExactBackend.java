package org.attn4j.backend;

import org.attn4j.AttentionRequest;
import org.attn4j.Backend;

/** The exact fused kernel on the GPU. */
final class ExactBackend extends GpuBackend {
  ExactBackend() {
    super(Backend.EXACT);
  }

  @Override
  NativeKernel kernel(AttentionRequest request) {
    return NativeKernel.EXACT;
  }
}
