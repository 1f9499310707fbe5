package org.attn4j;

/** Conversions between float and bfloat16, kept in a short. */
public final class BFloat16Bits {
  private BFloat16Bits() {}

  /**
   * {@return the exact value of a bfloat16}
   *
   * @param bits the 16 bits
   */
  public static float toFloat(short bits) {
    return Float.intBitsToFloat(bits << 16);
  }

  /**
   * {@return the nearest bfloat16, ties to even} NaN stays NaN.
   *
   * @param value any float
   */
  public static short fromFloat(float value) {
    int bits = Float.floatToRawIntBits(value);
    if ((bits & 0x7fffffff) > 0x7f800000) { // rounding could carry a NaN's payload into infinity
      return (short) (bits >>> 16 | 0x0040);
    }
    int lastBit = bits >>> 16 & 1;
    return (short) (bits + 0x7fff + lastBit >>> 16);
  }
}
