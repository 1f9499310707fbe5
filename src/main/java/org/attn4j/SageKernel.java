package org.attn4j;

/** Which SageAttention kernel the sage backend runs. */
public enum SageKernel {
  /** The one that suits the architecture and the shape best. */
  AUTO,
  /**
   * INT8 Q*K^T, 16-bit P*V; every architecture. It accumulates in fp32 unless {@link
   * PvAccumulator#FP16_FP32} is asked for, which is faster on 8.6, 8.9 and 12.x and missing on 9.0.
   */
  QK_INT8_PV_FP16,
  /**
   * INT8 Q*K^T, FP8 (e4m3) P*V; 8.9 and 12.x. It accumulates in fp32 unless {@link
   * PvAccumulator#FP32_FP16} is asked for, which is faster.
   */
  QK_INT8_PV_FP8,
  /** INT8 Q*K^T, FP8 (e4m3) P*V on Hopper's warpgroup instructions; sm90 builds alone. */
  QK_INT8_PV_FP8_SM90
}
