package org.attn4j;

/** Conversions between float and IEEE 754 binary16, kept in a short. */
public final class Float16Bits {
  private static final int FLOAT_MANTISSA_BITS = 23;
  private static final int HALF_MANTISSA_BITS = 10;
  private static final int MANTISSA_SHIFT = FLOAT_MANTISSA_BITS - HALF_MANTISSA_BITS;
  private static final int EXPONENT_BIAS_DIFFERENCE = 127 - 15;
  private static final int HALF_EXPONENT_MASK = 0x7c00;
  private static final int HALF_QUIET_BIT = 0x0200;

  /** 2^-24, the smallest positive binary16. */
  private static final float SUBNORMAL_UNIT = 0x1p-24f;

  private Float16Bits() {}

  /**
   * {@return the exact value of a binary16}
   *
   * @param half the 16 bits
   */
  public static float toFloat(short half) {
    int bits = half & 0xffff;
    int sign = (bits & 0x8000) << 16;
    int magnitude = bits & 0x7fff;
    if (magnitude >= HALF_EXPONENT_MASK) { // infinity and NaN, the payload kept
      return Float.intBitsToFloat(sign | 0x7f800000 | (magnitude & 0x3ff) << MANTISSA_SHIFT);
    }
    if (magnitude < 0x0400) { // zero and subnormals
      float value = magnitude * SUBNORMAL_UNIT;
      return sign == 0 ? value : -value;
    }
    int exponentShifted = EXPONENT_BIAS_DIFFERENCE << FLOAT_MANTISSA_BITS;
    return Float.intBitsToFloat(sign | ((magnitude << MANTISSA_SHIFT) + exponentShifted));
  }

  /**
   * {@return the nearest binary16, ties to even; values from 65520 on become infinity} NaN stays
   * NaN.
   *
   * @param value any float
   */
  public static short fromFloat(float value) {
    int bits = Float.floatToRawIntBits(value);
    int sign = bits >>> 16 & 0x8000;
    int magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) {
      return (short)
          (sign | HALF_EXPONENT_MASK | HALF_QUIET_BIT | magnitude >> MANTISSA_SHIFT & 0x3ff);
    }
    if (magnitude >= 0x477ff000) { // 65520 = 65504 + half a unit, and infinity
      return (short) (sign | HALF_EXPONENT_MASK);
    }
    if (magnitude < 0x38800000) { // below 2^-14: multiples of 2^-24, rounded by the addition of 0.5
      float shifted = Float.intBitsToFloat(magnitude) + 0.5f; // 0.5 has a unit of 2^-24
      return (short) (sign | (Float.floatToRawIntBits(shifted) - 0x3f000000));
    }
    int rebased = magnitude - (EXPONENT_BIAS_DIFFERENCE << FLOAT_MANTISSA_BITS);
    int lastBit = rebased >> MANTISSA_SHIFT & 1;
    return (short) (sign | (rebased + 0x0fff + lastBit) >> MANTISSA_SHIFT);
  }
}
