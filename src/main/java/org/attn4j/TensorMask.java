package org.attn4j;

/** A mask's tensor and what its elements mean. */
record TensorMask(Kind kind, AttentionTensor tensor) implements MaskPart {
  /** What the elements mean. */
  enum Kind {
    /** INT8 (batch or 1, keys); not 0: seen. */
    KEYS("keys", 2),
    /** INT8 (batch or 1, headsQ or 1, queries or 1, keys or 1); not 0: seen. */
    PAIRS("pairs", 4),
    /** Of floating point, the same sizes; added. */
    BIAS("bias", 4);

    private final String word;
    private final int rank;

    Kind(String word, int rank) {
      this.word = word;
      this.rank = rank;
    }

    private boolean accepts(DType dtype) {
      return this == BIAS ? dtype.isFloatingPoint() : dtype == DType.INT8;
    }

    private String types() {
      return this == BIAS ? "FLOAT16, BFLOAT16 and FLOAT32 are" : "INT8 is";
    }
  }

  TensorMask {
    String name = "mask." + kind.word;
    if (tensor == null) {
      throw new InvalidAttentionArgumentException(
          name + " is null; a tensor of rank " + kind.rank + " is needed");
    }
    if (tensor.shape().rank() != kind.rank) {
      throw new InvalidAttentionArgumentException(
          name + " has rank " + tensor.shape().rank() + "; rank " + kind.rank + " is accepted");
    }
    if (!kind.accepts(tensor.dtype())) {
      throw new InvalidAttentionArgumentException(
          name + " is " + tensor.dtype() + "; " + kind.types() + " accepted");
    }
  }

  @Override
  public void check(AttentionDims dims) {
    long[] wanted =
        kind == Kind.KEYS
            ? new long[] {dims.batch(), dims.keys()}
            : new long[] {dims.batch(), dims.headsQ(), dims.queries(), dims.keys()};
    for (int i = 0; i < wanted.length; i++) {
      boolean one = tensor.size(i) == 1 && (kind != Kind.KEYS || i == 0);
      if (tensor.size(i) != wanted[i] && !one) {
        throw new InvalidAttentionArgumentException(
            "mask."
                + kind.word
                + " has size "
                + tensor.size(i)
                + " in dimension "
                + i
                + "; "
                + wanted[i]
                + (kind == Kind.KEYS && i == 1 ? " is accepted" : " or 1 is accepted"));
      }
    }
  }

  @Override
  public void addTo(Keys keys, double[] addends) {
    if (!(tensor instanceof HostTensor host)) {
      throw new InvalidAttentionArgumentException(
          "mask." + kind.word + " is device memory; its elements are read on the host alone");
    }
    long offset = step(0) * keys.batch();
    if (kind != Kind.KEYS) {
      offset += step(1) * keys.head() + step(2) * keys.query();
    }
    long keyStep = step(kind.rank - 1);
    float[] values = new float[keys.count()];
    host.read(offset + keyStep * keys.firstKey(), keyStep, keys.count(), values);
    for (int j = 0; j < keys.count(); j++) {
      double value = kind == Kind.BIAS ? values[j] : values[j] == 0 ? Double.NEGATIVE_INFINITY : 0;
      MaskPart.add(addends, j, value);
    }
  }

  @Override
  public boolean isPerBatch() {
    return tensor.size(0) > 1;
  }

  @Override
  public boolean isPerHead() {
    return kind != Kind.KEYS && tensor.size(1) > 1;
  }

  /** A size of 1 stands for all. */
  private long step(int dimension) {
    return tensor.size(dimension) == 1 ? 0 : tensor.stride(dimension);
  }

  @Override
  public String toString() {
    return kind.word + " " + tensor.dtype() + " " + tensor.shape();
  }
}
