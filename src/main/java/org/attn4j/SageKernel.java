package org.attn4j;

/** Which SageAttention kernel the sage backend runs. */
public enum SageKernel {
  /** The one that suits the architecture and the shape best. */
  AUTO,
  /** INT8 Q*K^T, 16-bit P*V with fp32 accumulation; every architecture. */
  QK_INT8_PV_FP16,
  /** INT8 Q*K^T, FP8 (e4m3) P*V on Hopper's warpgroup instructions; sm90 builds alone. */
  QK_INT8_PV_FP8_SM90
}
