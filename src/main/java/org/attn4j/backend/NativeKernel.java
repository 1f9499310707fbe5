package org.attn4j.backend;

/** The attention functions of the native library. */
enum NativeKernel {
  /** {@code sageattn}: the best quantised kernel for the architecture and shape. */
  SAGE,
  /** {@code sageattn_qk_int8_pv_fp16_cuda}. */
  SAGE_QK_INT8_PV_FP16,
  /** {@code sageattn_qk_int8_pv_fp8_cuda_sm90}. */
  SAGE_QK_INT8_PV_FP8_SM90,
  /** {@code exact_attn}. */
  EXACT
}
