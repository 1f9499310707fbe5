package org.attn4j.backend;

import org.attn4j.AttentionRequest;
import org.attn4j.SdpaBackend;

/** The exact fused kernel on the GPU. */
final class ExactBackend extends GpuBackend {
  ExactBackend() {
    super(SdpaBackend.EXACT);
  }

  @Override
  NativeKernel kernel(AttentionRequest request) {
    return NativeKernel.EXACT;
  }
}
