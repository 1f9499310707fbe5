package org.attn4j;

/**
 * The accumulator of P*V. Read by the quantised backends alone; a kernel that lacks one refuses.
 */
public enum PvAccumulator {
  /** The most accurate one that the kernel has. */
  DEFAULT,
  /** One fp32 accumulator. */
  FP32,
  /** One fp16 accumulator. */
  FP16,
  /** An fp16 accumulator per key tile, added up in fp32. */
  FP16_FP32,
  /** The tensor core's accumulator per key tile, added up in fp32 (SageAttention2). */
  FP32_FP32,
  /** An fp16 accumulator of FP8 products per key tile, added up in fp32 (SageAttention2++). */
  FP32_FP16
}
