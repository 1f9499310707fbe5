package org.attn4j.pytorch;

import org.attn4j.TensorShape;
import org.bytedeco.pytorch.Tensor;

/**
 * Sizes and strides of a PyTorch tensor as (batch, head, sequence, channel), whatever its packing.
 * Strides are in elements.
 */
record Operand(Tensor tensor, long batch, long heads, long length, long headDim, long[] strides) {

  /** Reads a tensor of the packing's rank; {@code heads} counts only in PACKED_HEADS. */
  static Operand of(Tensor t, Packing packing, int heads) {
    return switch (packing) {
      case HND -> {
        long[] strides = {t.stride(0), t.stride(1), t.stride(2), t.stride(3)};
        yield new Operand(t, t.size(0), t.size(1), t.size(2), t.size(3), strides);
      }
      case NHD -> {
        long[] strides = {t.stride(0), t.stride(2), t.stride(1), t.stride(3)};
        yield new Operand(t, t.size(0), t.size(2), t.size(1), t.size(3), strides);
      }
      case SINGLE_HEAD -> {
        long[] strides = {t.stride(0), 0, t.stride(1), t.stride(2)};
        yield new Operand(t, t.size(0), 1, t.size(1), t.size(2), strides);
      }
      case PACKED_HEADS -> {
        long headDim = t.size(2) / heads;
        long[] strides = {t.stride(0), headDim * t.stride(2), t.stride(1), t.stride(2)};
        yield new Operand(t, t.size(0), heads, t.size(1), headDim, strides);
      }
    };
  }

  /** The sizes of a tensor of these dimensions in a packing. */
  static long[] sizes(Packing packing, long batch, long heads, long length, long headDim) {
    return switch (packing) {
      case HND -> new long[] {batch, heads, length, headDim};
      case NHD -> new long[] {batch, length, heads, headDim};
      case SINGLE_HEAD -> new long[] {batch, length, headDim};
      case PACKED_HEADS -> new long[] {batch, length, heads * headDim};
    };
  }

  boolean isEmpty() {
    return batch == 0 || heads == 0 || length == 0 || headDim == 0;
  }

  /** The shape with batch and heads repeated to the given numbers: PyTorch's broadcasting. */
  TensorShape expanded(long toBatch, long toHeads) {
    return TensorShape.strided(
        new long[] {toBatch, toHeads, length, headDim},
        new long[] {
          batch == toBatch ? strides[0] : 0,
          heads == toHeads ? strides[1] : 0,
          strides[2],
          strides[3]
        });
  }
}
