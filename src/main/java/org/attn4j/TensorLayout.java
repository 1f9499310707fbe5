package org.attn4j;

/** The order of the four dimensions of q, k, v and o. */
public enum TensorLayout {
  /** (batch, head, sequence, channel). */
  HND(1, 2),
  /** (batch, sequence, head, channel). */
  NHD(2, 1);

  private final int headDimension;
  private final int sequenceDimension;

  TensorLayout(int headDimension, int sequenceDimension) {
    this.headDimension = headDimension;
    this.sequenceDimension = sequenceDimension;
  }

  /** {@return the index of the dimension that counts heads: 1 or 2} */
  public int headDimension() {
    return headDimension;
  }

  /** {@return the index of the dimension that counts queries or keys: 2 or 1} */
  public int sequenceDimension() {
    return sequenceDimension;
  }
}
