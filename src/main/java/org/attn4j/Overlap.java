package org.attn4j;

import java.util.Arrays;

/**
 * Whether two tensors share a byte, as far as it can be told cheaply: never no if they do, and yes
 * if in doubt.
 */
final class Overlap {
  private static final int MAX_UNROLLED = 64;

  /**
   * A strided set of elements in bytes: strides positive and falling, dimensions that don't move
   * left out.
   */
  private record Box(long start, long[] sizes, long[] strides, long width) {
    static Box of(AttentionTensor tensor) {
      TensorShape shape = tensor.shape();
      long width = tensor.dtype().byteSize();
      long[] sizes = new long[shape.rank()];
      long[] strides = new long[shape.rank()];
      int rank = 0;
      for (int i = 0; i < shape.rank(); i++) {
        long stride = Math.abs(shape.stride(i)) * width;
        if (shape.size(i) > 1 && stride != 0) {
          int at = rank++;
          for (; at > 0 && strides[at - 1] < stride; at--) { // insertion sort
            sizes[at] = sizes[at - 1];
            strides[at] = strides[at - 1];
          }
          sizes[at] = shape.size(i);
          strides[at] = stride;
        }
      }
      return new Box(
          first(tensor), Arrays.copyOf(sizes, rank), Arrays.copyOf(strides, rank), width);
    }

    int rank() {
      return sizes.length;
    }

    long stride(int dimension) {
      return dimension < rank() ? strides[dimension] : 0;
    }

    /** The bytes from first to last, of one element of the dimensions before {@code dimension}. */
    long span(int dimension) {
      long span = width;
      for (int i = dimension; i < rank(); i++) {
        span += (sizes[i] - 1) * strides[i];
      }
      return span;
    }
  }

  private Overlap() {}

  static boolean possible(AttentionTensor a, AttentionTensor b) {
    boolean empty = a.shape().elements() == 0 || b.shape().elements() == 0;
    if (empty || a.isDevice() != b.isDevice()) {
      return false;
    }
    if (!a.isDevice() && a.memory() != b.memory()) {
      return false;
    }
    if (last(a) <= first(b) || last(b) <= first(a)) {
      return false; // the usual case costs nothing
    }
    return meet(Part.of(Box.of(a)), Part.of(Box.of(b)));
  }

  /** The first byte that the tensor touches. */
  private static long first(AttentionTensor tensor) {
    return address(tensor) + tensor.shape().minOffset() * tensor.dtype().byteSize();
  }

  /** Behind the last byte that the tensor touches. */
  private static long last(AttentionTensor tensor) {
    return address(tensor) + (tensor.shape().maxOffset() + 1) * tensor.dtype().byteSize();
  }

  /**
   * On the device the address of the first element; on the host its place in the memory that both
   * share.
   */
  private static long address(AttentionTensor tensor) {
    return tensor instanceof DeviceTensor device ? device.address() : tensor.byteOffset();
  }

  /** The dimensions of a box from one on, starting at some byte. */
  private record Part(Box box, int dimension, long start) {
    static Part of(Box box) {
      return new Part(box, 0, box.start());
    }

    long stride() {
      return box.stride(dimension);
    }

    long span() {
      return box.span(dimension);
    }

    /** One element of this dimension, starting elsewhere. */
    Part inner(long newStart) {
      return new Part(box, dimension + 1, newStart);
    }
  }

  private static boolean meet(Part a, Part b) {
    if (a.start() + a.span() <= b.start() || b.start() + b.span() <= a.start()) {
      return false;
    }
    long stride = a.stride();
    if (stride != b.stride()) {
      return stride > b.stride() ? unrolled(a, b) : unrolled(b, a);
    }
    if (stride == 0) {
      return true;
    }
    Part innerA = a.inner(0);
    Part innerB = b.inner(Math.floorMod(b.start() - a.start(), stride));
    if (innerA.span() > stride || innerB.span() > stride) {
      return true; // neighbours along this dimension interlock
    }
    // Both repeat with the stride, so that one period tells.
    return meet(innerA, innerB) || meet(innerA, b.inner(innerB.start() - stride));
  }

  private static boolean unrolled(Part a, Part b) {
    long size = a.box().sizes()[a.dimension()];
    if (size > MAX_UNROLLED) {
      return true;
    }
    for (long n = 0; n < size; n++) {
      if (meet(a.inner(a.start() + n * a.stride()), b)) {
        return true;
      }
    }
    return false;
  }
}
