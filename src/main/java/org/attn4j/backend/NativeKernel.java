package org.attn4j.backend;

/** The attention functions of the native library. */
enum NativeKernel {
  /** {@code sageattn}: the best quantised kernel for the architecture and shape. */
  SAGE,
  /** {@code sageattn_qk_int8_pv_fp16_cuda}. */
  SAGE_QK_INT8_PV_FP16,
  /** {@code sageattn_qk_int8_pv_fp8_cuda}. */
  SAGE_QK_INT8_PV_FP8,
  /** {@code sageattn_qk_int8_pv_fp8_cuda_sm90}. */
  SAGE_QK_INT8_PV_FP8_SM90,
  /** {@code spas_sage2_attn_meansim_cuda}. */
  SPAS_MEANSIM,
  /** {@code spas_sage2_attn_meansim_topk_cuda}. */
  SPAS_MEANSIM_TOPK,
  /** {@code block_sparse_sage2_attn_cuda}. */
  BLOCK_SPARSE,
  /** {@code exact_attn}. */
  EXACT
}
