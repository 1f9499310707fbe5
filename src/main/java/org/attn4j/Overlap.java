package org.attn4j;

/** Whether two tensors share bytes. */
final class Overlap {
  private Overlap() {}

  /** Whether the byte ranges from first to last element intersect and the memory is the same. */
  static boolean sameBytes(Tensor a, Tensor b) {
    if (a.shape().elements() == 0 || b.shape().elements() == 0 || !sameMemory(a, b)) {
      return false;
    }
    return first(a) < last(b) && first(b) < last(a);
  }

  /**
   * Whether two tensors of rank 4 and one element type share an element, as far as it can be told
   * cheaply: true if in doubt. Views that are interleaved row by row, such as q and o inside one
   * packed buffer, are told apart.
   */
  static boolean possible(Tensor a, Tensor b, int sequenceDimension) {
    if (!sameBytes(a, b)) {
      return false;
    }
    long period = Math.abs(a.stride(sequenceDimension)) * a.dtype().byteSize();
    if (!repeats(a, sequenceDimension, period) || !repeats(b, sequenceDimension, period)) {
      return true;
    }
    // Both repeat with the period, so it is enough to compare the bytes inside one.
    long phase = Math.floorMod(start(b) - start(a), period);
    return phase < rowBytes(a, sequenceDimension)
        || phase + rowBytes(b, sequenceDimension) > period;
  }

  /** Whether batch and sequence steps are multiples of the period and a row fits into it. */
  private static boolean repeats(Tensor t, int sequenceDimension, long period) {
    if (period == 0 || rowBytes(t, sequenceDimension) > period) {
      return false;
    }
    int size = t.dtype().byteSize();
    boolean sequenceFits =
        t.size(sequenceDimension) == 1 || t.stride(sequenceDimension) * size % period == 0;
    return sequenceFits && (t.size(0) == 1 || t.stride(0) * size % period == 0);
  }

  /** The bytes from the first to the last element of one (batch entry, sequence position). */
  private static long rowBytes(Tensor t, int sequenceDimension) {
    int headDimension = 3 - sequenceDimension;
    long heads = (t.size(headDimension) - 1) * t.stride(headDimension);
    long channels = (t.size(3) - 1) * t.stride(3);
    if (heads < 0 || channels < 0) {
      return Long.MAX_VALUE; // the row doesn't start at its first element: don't try
    }
    return (heads + channels + 1) * t.dtype().byteSize();
  }

  private static boolean sameMemory(Tensor a, Tensor b) {
    if (a.isDevice() != b.isDevice()) {
      return false;
    }
    return a.isDevice() || a.memory() == b.memory();
  }

  /** The address of the first element: on the device, or relative to the shared host memory. */
  private static long start(Tensor t) {
    return t instanceof DeviceTensor device ? device.address() : t.byteOffset();
  }

  private static long first(Tensor t) {
    return start(t) + t.shape().minOffset() * t.dtype().byteSize();
  }

  private static long last(Tensor t) {
    return start(t) + (t.shape().maxOffset() + 1) * t.dtype().byteSize();
  }
}
