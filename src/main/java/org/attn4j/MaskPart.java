package org.attn4j;

/** One condition or bias of a mask. Immutable. */
interface MaskPart {
  /** Some keys of one query of a request. */
  record Keys(AttentionDims dims, long batch, long head, long query, long firstKey, int count) {}

  /** Throws if the part doesn't fit a request of these sizes. */
  void check(AttentionDims dims);

  /**
   * Adds what the part says of the keys to {@code addends}. What is -infinity there stays it, and
   * what this part hides becomes it.
   */
  void addTo(Keys keys, double[] addends);

  /** The first key that the query may see. */
  default long firstKey(AttentionDims dims, long query) {
    return 0;
  }

  /** Behind the last key that the query may see. */
  default long endKey(AttentionDims dims, long query) {
    return dims.keys();
  }

  /** Whether it may differ from batch entry to batch entry. */
  default boolean isPerBatch() {
    return false;
  }

  /** Whether it may differ from head to head. */
  default boolean isPerHead() {
    return false;
  }

  /** The tensor that it reads, or null. */
  default AttentionTensor tensor() {
    return null;
  }

  /** Adds to one addend: hidden stays hidden, whatever is added. */
  static void add(double[] addends, int at, double value) {
    if (addends[at] != Double.NEGATIVE_INFINITY) {
      addends[at] = value == Double.NEGATIVE_INFINITY ? value : addends[at] + value;
    }
  }
}
