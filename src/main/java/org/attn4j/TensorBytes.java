package org.attn4j;

/** The bytes that a contiguous tensor takes. */
final class TensorBytes {
  private TensorBytes() {}

  static long of(TensorShape shape, DType dtype) {
    try {
      return Math.multiplyExact(shape.elements(), (long) dtype.byteSize());
    } catch (ArithmeticException e) {
      throw new InvalidAttentionArgumentException(
          "sizes " + shape + " of " + dtype + " take more bytes than 64 bits count");
    }
  }
}
