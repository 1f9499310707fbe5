package org.attn4j;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import org.testng.annotations.Test;

/** Every 16-bit pattern, and every place where rounding changes its mind. */
public class DTypeConversionTest {
  private static final int MANTISSA = 10;

  private interface ToFloat {
    float of(short bits);
  }

  private interface FromFloat {
    short of(float value);
  }

  /** The value of a binary16 by its definition, in double. */
  private static double definition(int bits) {
    int exponent = bits >> MANTISSA & 31;
    int mantissa = bits & 1023;
    double magnitude =
        exponent == 0
            ? mantissa * Math.pow(2, -24)
            : (1024 + mantissa) * Math.pow(2, exponent - 25);
    return (bits & 0x8000) == 0 ? magnitude : -magnitude;
  }

  @Test
  public void everyFloat16HasTheValueOfItsDefinition() {
    for (int bits = 0; bits < 65536; bits++) {
      float value = Float16Bits.toFloat((short) bits);
      if ((bits >> MANTISSA & 31) < 31) {
        assertEquals((double) value, definition(bits), 0.0, "bits " + bits);
        assertEquals(Float.floatToRawIntBits(value) < 0, bits >= 0x8000, "sign of " + bits);
      } else if ((bits & 1023) == 0) {
        assertEquals(value, bits < 0x8000 ? Float.POSITIVE_INFINITY : Float.NEGATIVE_INFINITY);
      } else {
        assertTrue(Float.isNaN(value));
      }
    }
  }

  @Test
  public void everyFloat16SurvivesTheRoundTrip() {
    roundTrip(Float16Bits::toFloat, Float16Bits::fromFloat, 0x7c00);
  }

  @Test
  public void everyBFloat16SurvivesTheRoundTrip() {
    roundTrip(BFloat16Bits::toFloat, BFloat16Bits::fromFloat, 0x7f80);
  }

  private static void roundTrip(ToFloat toFloat, FromFloat fromFloat, int infinity) {
    for (int bits = 0; bits < 65536; bits++) {
      float value = toFloat.of((short) bits);
      short back = fromFloat.of(value);
      if ((bits & 0x7fff) > infinity) {
        assertTrue(Float.isNaN(value) && Float.isNaN(toFloat.of(back)), "bits " + bits);
      } else {
        assertEquals(back, (short) bits, "bits " + bits);
      }
    }
  }

  @Test
  public void float16RoundsToNearestEven() {
    rounding(Float16Bits::toFloat, Float16Bits::fromFloat, 0x7c00, 65520f);
  }

  @Test
  public void bfloat16RoundsToNearestEven() {
    // The largest bfloat16 plus half a unit.
    rounding(
        BFloat16Bits::toFloat, BFloat16Bits::fromFloat, 0x7f80, Float.intBitsToFloat(0x7f7f8000));
  }

  /** At the middle of each two neighbours, and one float below and above it, of both signs. */
  private static void rounding(
      ToFloat toFloat, FromFloat fromFloat, int infinity, float firstInfinite) {
    for (int bits = 0; bits < infinity; bits++) {
      float low = toFloat.of((short) bits);
      float middle =
          bits + 1 == infinity
              ? firstInfinite
              : (float) (((double) low + toFloat.of((short) (bits + 1))) / 2);
      int even = (bits & 1) == 0 ? bits : bits + 1;
      check(fromFloat, middle, even);
      check(fromFloat, Math.nextDown(middle), bits);
      check(fromFloat, Math.nextUp(middle), bits + 1);
    }
  }

  private static void check(FromFloat fromFloat, float value, int expected) {
    assertEquals(fromFloat.of(value) & 0xffff, expected, "of " + value);
    assertEquals(fromFloat.of(-value) & 0xffff, expected | 0x8000, "of " + -value);
  }

  @Test
  public void infinityAndHugeValues() {
    assertEquals(Float16Bits.fromFloat(Float.POSITIVE_INFINITY), (short) 0x7c00);
    assertEquals(Float16Bits.fromFloat(-Float.MAX_VALUE), (short) 0xfc00);
    assertEquals(BFloat16Bits.fromFloat(Float.NEGATIVE_INFINITY), (short) 0xff80);
    assertTrue(Float.isNaN(Float16Bits.toFloat(Float16Bits.fromFloat(Float.NaN))));
    assertTrue(
        Float.isNaN(
            BFloat16Bits.toFloat(BFloat16Bits.fromFloat(Float.intBitsToFloat(0x7f800001)))));
  }
}
