package org.attn4j.distributed;

import org.attn4j.CausalMask;
import org.attn4j.DType;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.Tensor;

/**
 * Attention to some of the keys after the other, put together by log-sum-exp in FP32. A partial
 * output is FP32 on the CPU and has q's type on a GPU, whose kernels write no other yet.
 *
 * <p>With the accumulated output a and its log-sum-exp m, and a new part p with n: w = sigmoid(n -
 * m), a += w (p - a), m = ln(e^m + e^n). No exponential can overflow in this form. A row that saw
 * no key yet has m = -infinity. On a GPU one kernel does it, which weighs both sides (w and 1 - w)
 * and writes the last sum as the output.
 */
final class Partials {
  private final LocalAttention attention;
  private final Tensor output; // FP32 (rows, batch, heads, headDim)
  private final Tensor lse; // FP32 (batch, heads, rows)
  private final DType partType;
  private final int cudaDevice;
  private boolean finished;

  /** Works in these two tensors, which it doesn't own. */
  Partials(LocalAttention attention, Tensor output, Tensor lse, DType type, int cudaDevice) {
    this.attention = attention;
    this.output = output;
    this.lse = lse;
    this.partType = cudaDevice < 0 ? DType.FLOAT32 : type;
    this.cudaDevice = cudaDevice;
  }

  /** A tensor as the calls here take it. */
  Tensor operand(Tensor tensor) {
    return Tensors.type(tensor) == partType ? tensor : tensor.to(Tensors.scalarType(partType));
  }

  /** Attention to the first keys, of all rows. */
  void first(Tensor q, int firstHead, Tensor k, Tensor v, CausalMask mask) {
    if (k.numel() == 0) {
      output.zero_();
      lse.fill_(Tensors.scalar(Double.NEGATIVE_INFINITY));
    } else if (partType == DType.FLOAT32) {
      attention.run(q, firstHead, k, v, output, lse, mask);
    } else {
      Tensor part = Tensors.empty(partType, cudaDevice, output.shape());
      attention.run(q, firstHead, k, v, part, lse, mask);
      output.copy_(part);
    }
  }

  /**
   * Attention of the rows from {@code from} on to more keys.
   *
   * @param last the 16-bit or FP32 result of all rows, if no more keys come; else null. {@link
   *     #finish} still has to be called
   */
  void add(Tensor q, int firstHead, long from, Tensor k, Tensor v, Tensor last) {
    long rows = q.size(0) - from;
    if (rows == 0 || q.numel() == 0 || k.numel() == 0) {
      return;
    }
    Tensor part = Tensors.empty(partType, cudaDevice, rows, q.size(1), q.size(2), q.size(3));
    Tensor partLse = Tensors.empty(DType.FLOAT32, cudaDevice, q.size(1), q.size(2), rows);
    Tensor queries = q.narrow(0, from, rows);
    attention.run(queries, firstHead, k, v, part, partLse, CausalMask.NONE);
    Tensor sum = output.narrow(0, from, rows);
    Tensor sumLse = lse.narrow(2, from, rows);
    if (cudaDevice < 0) {
      merge(sum, sumLse, part, partLse);
    } else {
      finished = last != null && from == 0;
      new KernelMerge(cudaDevice).add(sum, sumLse, part, partLse, finished ? last : null);
    }
  }

  /** Writes the result, unless the last addition has done it. */
  void finish(Tensor o) {
    if (!finished) {
      o.copy_(output);
    }
    finished = false;
  }

  /** The same as {@link KernelMerge}, of PyTorch's operations: on any device. */
  static void merge(Tensor output, Tensor lse, Tensor part, Tensor partLse) {
    Tensor weight = partLse.sub(lse).sigmoid_();
    weight.nan_to_num_(new DoubleOptional(0), new DoubleOptional(), new DoubleOptional());
    Tensor byRow = weight.permute(2, 0, 1).unsqueeze(3);
    output.lerp_(part.to(Tensors.scalarType(DType.FLOAT32)), byRow);
    lse.copy_(lse.logaddexp(partLse));
  }
}
