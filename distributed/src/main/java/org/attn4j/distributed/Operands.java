package org.attn4j.distributed;

import java.util.Arrays;
import org.attn4j.InvalidAttentionArgumentException;
import org.attn4j.TensorLayout;
import org.bytedeco.pytorch.Tensor;

/** Checks a call's tensors against what the attention was built for, and turns them. */
record Operands(AttentionShape shape, TensorLayout layout, int cudaDevice) {

  /** A view of sizes (tokens, batch, heads, headDim) whose channels are contiguous. */
  Tensor view(String name, Tensor tensor, long tokens, int heads) {
    if (tensor == null || tensor.isNull()) {
      throw new InvalidAttentionArgumentException(name + " is null; a tensor is needed");
    }
    long[] wanted =
        layout == TensorLayout.HND
            ? new long[] {shape.batch(), heads, tokens, shape.headDim()}
            : new long[] {shape.batch(), tokens, heads, shape.headDim()};
    if (!Arrays.equals(tensor.shape(), wanted)) {
      throw new InvalidAttentionArgumentException(
          name
              + " has sizes "
              + Arrays.toString(tensor.shape())
              + "; this rank's are "
              + Arrays.toString(wanted));
    }
    if (Tensors.type(tensor) != shape.type()) {
      throw new InvalidAttentionArgumentException(
          name + " is " + Tensors.type(tensor) + "; the attention is of " + shape.type());
    }
    if (tensor.is_cuda() != cudaDevice >= 0) {
      throw new InvalidAttentionArgumentException(
          name
              + " is in "
              + (tensor.is_cuda() ? "GPU" : "host")
              + " memory; the attention is in "
              + (cudaDevice >= 0 ? "GPU" : "host")
              + " memory");
    }
    if (tensor.requires_grad()) {
      throw new InvalidAttentionArgumentException(
          name + " requires a gradient; attention over several ranks has none, pass it detached");
    }
    Tensor view = tokensFirst(tensor, layout);
    return view.stride(3) == 1 || view.size(3) == 1 ? view : view.contiguous();
  }

  /** A view of sizes (tokens, batch, heads, headDim). */
  static Tensor tokensFirst(Tensor tensor, TensorLayout layout) {
    return layout == TensorLayout.HND ? tensor.permute(2, 0, 1, 3) : tensor.permute(1, 0, 2, 3);
  }
}
