package org.attn4j.testing;

/**
 * Errors of many values against a reference: cosine similarity, relative L1 (sum |a - b| / sum
 * |b|), largest difference.
 */
public final class ErrorStats {
  private double dot;
  private double actualSquares;
  private double expectedSquares;
  private double differences;
  private double expectedAbsolutes;
  private double largest;
  private long count;

  /** Takes one value in. A NaN makes every figure NaN. */
  public void add(double actual, double expected) {
    dot += actual * expected;
    actualSquares += actual * actual;
    expectedSquares += expected * expected;
    double difference = Math.abs(actual - expected);
    differences += difference;
    expectedAbsolutes += Math.abs(expected);
    largest = Math.max(largest, difference);
    count++;
  }

  /** Takes another object's values in. */
  public void add(ErrorStats other) {
    dot += other.dot;
    actualSquares += other.actualSquares;
    expectedSquares += other.expectedSquares;
    differences += other.differences;
    expectedAbsolutes += other.expectedAbsolutes;
    largest = Math.max(largest, other.largest);
    count += other.count;
  }

  /** 1 for no values, and for a reference that is all zero and met exactly. */
  public double cosine() {
    if (expectedSquares == 0 && actualSquares == 0) {
      return 1;
    }
    return dot / Math.sqrt(actualSquares * expectedSquares);
  }

  /** 0 for no values, and for a reference that is all zero and met exactly. */
  public double relativeL1() {
    return differences == 0 ? 0 : differences / expectedAbsolutes;
  }

  /** The largest absolute difference. */
  public double largest() {
    return largest;
  }

  /** How many values. */
  public long count() {
    return count;
  }

  @Override
  public String toString() {
    return String.format(
        "cos %.7f L1 %.6f max %.3g over %d", cosine(), relativeL1(), largest, count);
  }
}
