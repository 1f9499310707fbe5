package org.attn4j.backend;

import org.attn4j.AttentionRequest;
import org.attn4j.BackendInfo;
import org.attn4j.SdpaBackend;

/** The exact reference on the CPU, for host tensors. */
final class CpuBackend implements AttentionBackend {
  @Override
  public SdpaBackend name() {
    return SdpaBackend.CPU;
  }

  @Override
  public BackendInfo info() {
    int processors = Runtime.getRuntime().availableProcessors();
    return new BackendInfo(
        name().id(),
        true,
        "exact fp32 attention over host tensors on " + processors + " processors");
  }

  @Override
  public Support supports(AttentionRequest request) {
    // Copying to the host and back would hide a cost of milliseconds and a synchronisation.
    return request.q().isDevice()
        ? Support.elsewhere("q is device memory; host memory is accepted")
        : Support.served("fp32 reference", 0);
  }

  @Override
  public void run(AttentionRequest request, Support answer) {
    CpuAttention.run(request, CpuAttention.Precision.FP32);
  }
}
