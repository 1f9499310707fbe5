package org.attn4j;

import java.util.Arrays;

/**
 * Sizes and strides of a tensor, of rank 1 to 8. Sizes count elements and may be 0; strides are in
 * elements too, and may be 0 (a repeated dimension) or negative. Immutable.
 */
public final class TensorShape {
  private static final int MAX_RANK = 8;

  private final long[] sizes;
  private final long[] strides;
  private final long elements;
  private final long minOffset;
  private final long maxOffset;

  private TensorShape(long[] sizes, long[] strides) {
    this.sizes = sizes;
    this.strides = strides;
    long count = 1;
    long min = 0;
    long max = 0;
    try {
      for (int i = 0; i < sizes.length; i++) {
        count = Math.multiplyExact(count, sizes[i]);
        long reach = Math.multiplyExact(Math.max(sizes[i] - 1, 0), strides[i]);
        min = Math.addExact(min, Math.min(reach, 0));
        max = Math.addExact(max, Math.max(reach, 0));
      }
    } catch (ArithmeticException e) {
      throw new InvalidAttentionArgumentException(
          "sizes "
              + Arrays.toString(sizes)
              + " with strides "
              + Arrays.toString(strides)
              + " reach beyond 64-bit offsets");
    }
    elements = count;
    minOffset = min;
    maxOffset = max;
  }

  /**
   * {@return row-major sizes without gaps}
   *
   * @param sizes the number of elements along each dimension
   */
  public static TensorShape contiguous(long... sizes) {
    long[] checked = checkSizes(sizes);
    long[] strides = new long[checked.length];
    long stride = 1;
    for (int i = checked.length - 1; i >= 0; i--) {
      strides[i] = stride;
      try {
        stride = Math.multiplyExact(stride, Math.max(checked[i], 1));
      } catch (ArithmeticException e) {
        throw new InvalidAttentionArgumentException(
            "sizes " + Arrays.toString(checked) + " reach beyond 64-bit offsets");
      }
    }
    return new TensorShape(checked, strides);
  }

  /**
   * {@return any sizes and strides, both in elements, of the same rank}
   *
   * @param sizes the number of elements along each dimension
   * @param strides in elements, one per size
   */
  public static TensorShape strided(long[] sizes, long[] strides) {
    long[] checked = checkSizes(sizes);
    if (strides == null) {
      throw new InvalidAttentionArgumentException("strides is null; one stride per size is needed");
    }
    if (strides.length != checked.length) {
      throw new InvalidAttentionArgumentException(
          "strides has "
              + strides.length
              + " entries and sizes has "
              + checked.length
              + "; they must agree");
    }
    return new TensorShape(checked, strides.clone());
  }

  private static long[] checkSizes(long[] sizes) {
    if (sizes == null) {
      throw new InvalidAttentionArgumentException(
          "sizes is null; 1 to " + MAX_RANK + " sizes are needed");
    }
    if (sizes.length < 1 || sizes.length > MAX_RANK) {
      throw new InvalidAttentionArgumentException(
          "sizes has " + sizes.length + " entries; 1 to " + MAX_RANK + " are accepted");
    }
    for (int i = 0; i < sizes.length; i++) {
      if (sizes[i] < 0) {
        throw new InvalidAttentionArgumentException(
            "sizes[" + i + "] is " + sizes[i] + "; sizes must not be negative");
      }
    }
    return sizes.clone();
  }

  /** {@return the number of dimensions} */
  public int rank() {
    return sizes.length;
  }

  /**
   * {@return the number of elements along a dimension}
   *
   * @param dimension the dimension, from 0
   */
  public long size(int dimension) {
    return sizes[dimension];
  }

  /**
   * {@return the distance between neighbours along a dimension, in elements}
   *
   * @param dimension the dimension, from 0
   */
  public long stride(int dimension) {
    return strides[dimension];
  }

  /** {@return all sizes, a copy} */
  public long[] sizes() {
    return sizes.clone();
  }

  /** {@return all strides in elements, a copy} */
  public long[] strides() {
    return strides.clone();
  }

  /** {@return the product of the sizes} */
  public long elements() {
    return elements;
  }

  /**
   * {@return the lowest element offset that the shape touches, relative to its first element: 0 or
   * negative}
   */
  public long minOffset() {
    return minOffset;
  }

  /** {@return the highest element offset that the shape touches, relative to its first element} */
  public long maxOffset() {
    return maxOffset;
  }

  /**
   * {@return whether the elements lie in row-major order without gaps} Strides of dimensions of
   * size 1 don't matter.
   */
  public boolean isContiguous() {
    long expected = 1;
    for (int i = sizes.length - 1; i >= 0; i--) {
      if (sizes[i] != 1 && strides[i] != expected) {
        return elements == 0;
      }
      expected *= sizes[i];
    }
    return true;
  }

  /**
   * {@return whether the sizes are equal; the strides may differ}
   *
   * @param other the other one
   */
  public boolean sameSizes(TensorShape other) {
    return Arrays.equals(sizes, other.sizes);
  }

  /**
   * {@return the same elements with the dimensions in another order: dimension i of the result is
   * {@code order[i]} of this}
   *
   * @param order for each dimension of the result, the one that it was
   */
  public TensorShape permute(int... order) {
    boolean[] seen = new boolean[rank()];
    boolean valid = order != null && order.length == rank();
    for (int i = 0; valid && i < order.length; i++) {
      valid = order[i] >= 0 && order[i] < rank() && !seen[order[i]];
      if (valid) {
        seen[order[i]] = true;
      }
    }
    if (!valid) {
      throw new InvalidAttentionArgumentException(
          "order is "
              + Arrays.toString(order)
              + "; a permutation of 0.."
              + (rank() - 1)
              + " is needed");
    }
    long[] newSizes = new long[rank()];
    long[] newStrides = new long[rank()];
    for (int i = 0; i < order.length; i++) {
      newSizes[i] = sizes[order[i]];
      newStrides[i] = strides[order[i]];
    }
    return new TensorShape(newSizes, newStrides);
  }

  /** The same strides with the size of one dimension cut to {@code size}. */
  TensorShape withSize(int dimension, long size) {
    long[] newSizes = sizes.clone();
    newSizes[dimension] = size;
    return new TensorShape(newSizes, strides);
  }

  /** Without one dimension. */
  TensorShape without(int dimension) {
    if (rank() == 1) {
      throw new InvalidAttentionArgumentException("the tensor has rank 1; select needs 2 or more");
    }
    long[] newSizes = new long[rank() - 1];
    long[] newStrides = new long[rank() - 1];
    for (int i = 0, to = 0; i < rank(); i++) {
      if (i != dimension) {
        newSizes[to] = sizes[i];
        newStrides[to++] = strides[i];
      }
    }
    return new TensorShape(newSizes, newStrides);
  }

  void checkDimension(int dimension) {
    if (dimension < 0 || dimension >= rank()) {
      throw new InvalidAttentionArgumentException(
          "dimension is " + dimension + "; 0 to " + (rank() - 1) + " are accepted");
    }
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof TensorShape that
        && Arrays.equals(sizes, that.sizes)
        && Arrays.equals(strides, that.strides);
  }

  @Override
  public int hashCode() {
    return 31 * Arrays.hashCode(sizes) + Arrays.hashCode(strides);
  }

  /**
   * The sizes, for example {@code [2, 8, 128, 64]}; with the strides if the shape is not
   * contiguous.
   */
  @Override
  public String toString() {
    return isContiguous()
        ? Arrays.toString(sizes)
        : Arrays.toString(sizes) + " strides " + Arrays.toString(strides);
  }
}
