package org.attn4j;

/**
 * The element type of a tensor. q, k, v and o are FLOAT16 or BFLOAT16 (on the host FLOAT32 too).
 */
public enum DType {
  /** IEEE 754 binary16. */
  FLOAT16(2),
  /** bfloat16: the upper half of a binary32. */
  BFLOAT16(2),
  /** IEEE 754 binary32. */
  FLOAT32(4),
  /** 32-bit signed integer: key lengths. */
  INT32(4),
  /** 8-bit signed integer: quantised values, and masks, where 0 is hidden and others are seen. */
  INT8(1);

  private final int byteSize;

  DType(int byteSize) {
    this.byteSize = byteSize;
  }

  /** {@return bytes of one element} */
  public int byteSize() {
    return byteSize;
  }

  /** {@return whether the GPU backends take this type for q, k, v and o} */
  public boolean isHalf() {
    return this == FLOAT16 || this == BFLOAT16;
  }

  /** {@return whether the type has a fraction} */
  public boolean isFloatingPoint() {
    return this == FLOAT16 || this == BFLOAT16 || this == FLOAT32;
  }
}
