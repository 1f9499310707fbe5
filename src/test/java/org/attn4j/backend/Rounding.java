package org.attn4j.backend;

import org.attn4j.DType;

/** How far an output may be from what exact arithmetic gives. */
final class Rounding {
  private Rounding() {}

  /** An output of a type is off by half a unit of it besides the arithmetic's own error. */
  static double tolerance(DType dtype, double expected, double arithmetic) {
    double unit =
        switch (dtype) {
          case FLOAT16 -> 0x1p-11;
          case BFLOAT16 -> 0x1p-8;
          default -> 0x1p-24;
        };
    return Math.abs(expected) * unit * 1.01 + arithmetic + (dtype == DType.FLOAT16 ? 0x1p-25 : 0);
  }
}
