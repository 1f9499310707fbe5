package org.attn4j;

import org.attn4j.backend.NativeMerge;

/**
 * What attention to some of the keys found: the output of each row, and its log-sum-exp. States of
 * other keys are added to it, so that the result is that of one call with all keys (ring attention,
 * arXiv:2310.01889): with outputs a and p of log-sum-exps m and n (natural log),
 *
 * <pre>a = (e^m a + e^n p) / (e^m + e^n),   m = ln(e^m + e^n)</pre>
 *
 * in FP32, in a form that can't overflow. A row that saw no key has a log-sum-exp of -infinity and
 * adds nothing.
 *
 * <p>An accumulator is a state of FP32; a part, as {@link Attention#sdpa} writes it, and the last
 * output are FLOAT16 or BFLOAT16. Each call here enqueues one kernel and waits for nothing.
 *
 * @param o (b, h, l, d) or (b, l, h, d), as the layout has it; d up to 256, channels contiguous
 * @param lse FP32 (b, h, l): contiguous, but for an accumulator's, whose rows alone must be. Null
 *     where only an output is wanted
 */
public record AttentionState(DeviceTensor o, DeviceTensor lse) {
  /**
   * Checks what no kernel could accept.
   *
   * @param o as above
   * @param lse as above
   */
  public AttentionState {
    if (o == null) {
      throw invalid("o is null; a tensor of rank 4 is needed");
    }
    requireRank("o", o, 4);
    if (lse != null) {
      requireRank("lse", lse, 3);
      if (lse.dtype() != DType.FLOAT32) {
        throw invalid("lse is " + lse.dtype() + "; FLOAT32 is accepted");
      }
    }
  }

  /**
   * Makes this FP32 state equal to a part: the first one.
   *
   * @param part a part of 16 bits, with its log-sum-exp
   * @param layout of both outputs
   * @param stream where the kernel is enqueued
   */
  public void set(AttentionState part, TensorLayout layout, CudaStream stream) {
    merge(part, null, layout, true, stream);
  }

  /**
   * Adds a part to this FP32 state.
   *
   * @param part a part of 16 bits, with its log-sum-exp
   * @param layout of both outputs
   * @param stream where the kernel is enqueued
   */
  public void add(AttentionState part, TensorLayout layout, CudaStream stream) {
    merge(part, null, layout, false, stream);
  }

  /**
   * Writes this FP32 state with one more part, the last, as a 16-bit output. This state stays as it
   * is.
   *
   * @param result of the part's type; its lse may be null
   * @param part a part of 16 bits, with its log-sum-exp
   * @param layout of all outputs
   * @param stream where the kernel is enqueued
   */
  public void addTo(
      AttentionState result, AttentionState part, TensorLayout layout, CudaStream stream) {
    if (result == null) {
      throw invalid("result is null; the state that is written is needed");
    }
    merge(part, result, layout, false, stream);
  }

  private void merge(
      AttentionState part,
      AttentionState result,
      TensorLayout layout,
      boolean isFirst,
      CudaStream stream) {
    if (part == null || layout == null) {
      throw invalid((part == null ? "part" : "layout") + " is null; one is needed");
    }
    CudaStream.requireStream(stream);
    if (o.dtype() != DType.FLOAT32) {
      throw invalid("the accumulator's o is " + o.dtype() + "; FLOAT32 is accepted");
    }
    DType type = part.o.dtype();
    if (type != DType.FLOAT16 && type != DType.BFLOAT16) {
      throw invalid("the part's o is " + type + "; FLOAT16 and BFLOAT16 are accepted");
    }
    if (lse == null || part.lse == null) {
      throw invalid(
          (lse == null ? "the accumulator's" : "the part's")
              + " lse is null; a tensor (b, h, l) of FLOAT32 is needed");
    }
    requireSizes("the accumulator's o", o, part.o.shape().sizes());
    requireLse("the accumulator's lse", lse, part.o, layout, false);
    requireLse("the part's lse", part.lse, part.o, layout, true);
    if (result != null) {
      requireResult(part, result, layout);
    }
    NativeDevice.requireGpu();
    NativeMerge.merge(this, part, result, layout, isFirst, stream);
  }

  private static void requireResult(
      AttentionState part, AttentionState result, TensorLayout layout) {
    if (result.o.dtype() != part.o.dtype()) {
      throw invalid(
          "the result's o is "
              + result.o.dtype()
              + " and the part's "
              + part.o.dtype()
              + "; they must be equal");
    }
    requireSizes("the result's o", result.o, part.o.shape().sizes());
    if (result.lse != null) {
      requireLse("the result's lse", result.lse, part.o, layout, true);
    }
  }

  private static void requireRank(String name, DeviceTensor tensor, int rank) {
    if (tensor.shape().rank() != rank) {
      throw invalid(
          name + " has rank " + tensor.shape().rank() + "; rank " + rank + " is accepted");
    }
  }

  private static void requireSizes(String name, DeviceTensor tensor, long... sizes) {
    for (int i = 0; i < sizes.length; i++) {
      if (tensor.size(i) != sizes[i]) {
        throw invalid(
            name
                + " has size "
                + tensor.size(i)
                + " in dimension "
                + i
                + "; the part's o has "
                + sizes[i]);
      }
    }
  }

  private static void requireLse(
      String name, DeviceTensor lse, DeviceTensor o, TensorLayout layout, boolean contiguous) {
    boolean hnd = layout == TensorLayout.HND;
    requireSizes(name, lse, o.size(0), o.size(hnd ? 1 : 2), o.size(hnd ? 2 : 1));
    if (contiguous && !lse.shape().isContiguous()) {
      throw invalid(name + " has the shape " + lse.shape() + "; it must be contiguous");
    }
    if (lse.size(2) > 1 && lse.stride(2) != 1) {
      throw invalid(name + " has stride " + lse.stride(2) + " between rows; 1 is accepted");
    }
  }

  private static InvalidAttentionArgumentException invalid(String message) {
    return new InvalidAttentionArgumentException(message);
  }
}
