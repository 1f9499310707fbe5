package org.attn4j.backend;

import org.attn4j.AttentionRequest;
import org.attn4j.BackendInfo;
import org.attn4j.SdpaBackend;

/** SageAttention on the GPU. */
final class SageBackend extends GpuBackend {
  private final Settings settings;

  SageBackend(Settings settings) {
    super(SdpaBackend.SAGE);
    this.settings = settings;
  }

  @Override
  NativeKernel kernel(AttentionRequest request) {
    return switch (request.options().sageKernel()) {
      case AUTO -> NativeKernel.SAGE;
      case QK_INT8_PV_FP16 -> NativeKernel.SAGE_QK_INT8_PV_FP16;
      case QK_INT8_PV_FP8 -> NativeKernel.SAGE_QK_INT8_PV_FP8;
      case QK_INT8_PV_FP8_SM90 -> NativeKernel.SAGE_QK_INT8_PV_FP8_SM90;
    };
  }

  @Override
  public BackendInfo info() {
    return settings.quantisedDisabled()
        ? new BackendInfo(name().id(), false, Settings.DISABLED)
        : super.info();
  }
}
