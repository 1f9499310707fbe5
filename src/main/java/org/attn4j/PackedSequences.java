package org.attn4j;

import java.util.List;

/**
 * Sequences of different lengths in one run of rows, without padding. The request's q and o are (1,
 * headsQ, queries of all, headDim), k and v (1, headsKv, keys of all, headDim), or the same in NHD;
 * its lse is (1, headsQ, queries of all). Sequence i is the rows from {@code cuSeqlens[i]} up to,
 * not including, {@code cuSeqlens[i + 1]} of each. Its queries see its own keys alone, and a causal
 * mask is aligned within it.
 *
 * <p>The offsets ascend; those beyond the rows count as the number of rows. Rows of o and lse that
 * belong to no sequence are not written. On a GPU the offsets are read there, so that a captured
 * graph may be launched again with others.
 *
 * @param cuSeqlensQ INT32 (count + 1), contiguous, in the same kind of memory as q
 * @param cuSeqlensK likewise, for k and v
 * @param maxSeqlenQ rows of the longest sequence of q, or more: for the choice of a kernel
 * @param maxSeqlenK likewise, for k and v
 */
public record PackedSequences(
    AttentionTensor cuSeqlensQ, AttentionTensor cuSeqlensK, long maxSeqlenQ, long maxSeqlenK) {
  /**
   * Checks what can be checked without a request.
   *
   * @param cuSeqlensQ as above
   * @param cuSeqlensK as above
   * @param maxSeqlenQ as above
   * @param maxSeqlenK as above
   */
  public PackedSequences {
    checkOffsets(cuSeqlensQ, "cuSeqlensQ");
    checkOffsets(cuSeqlensK, "cuSeqlensK");
    if (cuSeqlensQ.size(0) != cuSeqlensK.size(0)) {
      throw new InvalidAttentionArgumentException(
          "cuSeqlensK has "
              + cuSeqlensK.size(0)
              + " offsets and cuSeqlensQ "
              + cuSeqlensQ.size(0)
              + "; they must agree");
    }
  }

  /**
   * {@return sequences of the given lengths, one behind the other, with offsets in host memory}
   *
   * @param queries rows of each sequence in q
   * @param keys rows of each sequence in k and v
   */
  public static PackedSequences ofLengths(int[] queries, int[] keys) {
    return new PackedSequences(
        offsets(queries, "queries"), offsets(keys, "keys"), longest(queries), longest(keys));
  }

  /**
   * {@return the same with copies of the offsets in device memory, which the caller closes}
   *
   * @param device the device
   */
  public PackedSequences onDevice(int device) {
    if (cuSeqlensQ.isDevice() || cuSeqlensK.isDevice()) {
      throw new InvalidAttentionArgumentException(
          "packed has offsets in device memory; offsets in host memory are copied");
    }
    return new PackedSequences(
        DeviceTensor.copyOf((HostTensor) cuSeqlensQ, device),
        DeviceTensor.copyOf((HostTensor) cuSeqlensK, device),
        maxSeqlenQ,
        maxSeqlenK);
  }

  /** {@return how many sequences there are} */
  public long count() {
    return cuSeqlensQ.size(0) - 1;
  }

  List<AttentionTensor> tensors() {
    return List.of(cuSeqlensQ, cuSeqlensK);
  }

  /** Throws if a request of these sizes can't have it. */
  void check(AttentionDims dims) {
    if (dims.batch() != 1) {
      throw new InvalidAttentionArgumentException(
          "q has batch " + dims.batch() + "; packed sequences are rows of one batch entry");
    }
    checkLongest("maxSeqlenQ", maxSeqlenQ, dims.queries());
    checkLongest("maxSeqlenK", maxSeqlenK, dims.keys());
  }

  private static void checkLongest(String name, long value, long rows) {
    if (value < 0 || value > rows) {
      throw new InvalidAttentionArgumentException(
          "packed." + name + " is " + value + "; 0 to " + rows + " are accepted");
    }
  }

  private static void checkOffsets(AttentionTensor offsets, String name) {
    if (offsets == null) {
      throw new InvalidAttentionArgumentException(
          "packed." + name + " is null; INT32 (count + 1) is needed");
    }
    boolean fits =
        offsets.dtype() == DType.INT32
            && offsets.shape().rank() == 1
            && offsets.size(0) >= 1
            && offsets.shape().isContiguous();
    if (!fits) {
      throw new InvalidAttentionArgumentException(
          "packed."
              + name
              + " is "
              + offsets.dtype()
              + " "
              + offsets.shape()
              + "; contiguous INT32 (count + 1) is accepted");
    }
  }

  private static HostTensor offsets(int[] lengths, String name) {
    if (lengths == null) {
      throw new InvalidAttentionArgumentException(name + " is null; an int array is needed");
    }
    int[] offsets = new int[lengths.length + 1];
    for (int i = 0; i < lengths.length; i++) {
      if (lengths[i] < 0 || lengths[i] > Integer.MAX_VALUE - offsets[i]) {
        throw new InvalidAttentionArgumentException(
            name
                + "["
                + i
                + "] is "
                + lengths[i]
                + "; lengths of 0 or more, together below 2^31, are accepted");
      }
      offsets[i + 1] = offsets[i] + lengths[i];
    }
    return HostTensor.ofInts(offsets);
  }

  private static long longest(int[] lengths) {
    int longest = 0;
    for (int length : lengths) {
      longest = Math.max(longest, length);
    }
    return longest;
  }
}
