package org.attn4j.cli;

import java.util.Locale;
import org.attn4j.DType;

/** The type of q, k, v and o, as the command line has it. */
enum ElementType {
  FP16(DType.FLOAT16),
  BF16(DType.BFLOAT16),
  FP32(DType.FLOAT32);

  private final DType dtype;

  ElementType(DType dtype) {
    this.dtype = dtype;
  }

  DType dtype() {
    return dtype;
  }

  String id() {
    return name().toLowerCase(Locale.ROOT);
  }
}
