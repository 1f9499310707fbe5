package org.attn4j.pytorch;

import org.attn4j.InvalidAttentionArgumentException;
import org.attn4j.SparsityOptions.Selection;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Checks the tensors of a {@link TorchSparsity}, whoever will serve the call. */
final class SparsityCheck {
  private static final String PER_HEAD = "(heads)";
  private static final String PER_BLOCK = "(batch, heads, query blocks, key blocks)";
  private static final String PER_ENTRY = "(batch, heads)";

  private SparsityCheck() {}

  static void check(SdpaCall call) {
    TorchSparsity sparsity = call.sparsity();
    boolean byMask = call.options().sparsity().selection() == Selection.MASK;
    if (sparsity == null) {
      if (byMask) {
        throw invalid("blockMask is missing; selection MASK needs a TorchSparsity that has one");
      }
      return;
    }
    checkTensor(sparsity.simthreshd1(), "simthreshd1", PER_HEAD, call);
    checkTensor(sparsity.cdfthreshd(), "cdfthreshd", PER_HEAD, call);
    checkTensor(sparsity.topk(), "topk", PER_HEAD, call);
    checkTensor(sparsity.pvthreshd(), "pvthreshd", PER_HEAD, call);
    checkTensor(sparsity.blockMask(), "blockMask", PER_BLOCK, call);
    checkTensor(sparsity.blockMap(), "blockMap", PER_BLOCK, call);
    checkTensor(sparsity.sparsity(), "sparsity", PER_ENTRY, call);
    if (byMask != (sparsity.blockMask() != null)) {
      throw invalid(
          byMask
              ? "blockMask is null; selection MASK needs one"
              : "blockMask is set and the selection is "
                  + call.options().sparsity().selection()
                  + "; SparsityOptions.byMask() reads it");
    }
  }

  private static void checkTensor(Tensor tensor, String name, String shape, SdpaCall call) {
    if (tensor == null) {
      return;
    }
    if (tensor.isNull() || !tensor.defined()) {
      throw invalid(name + " is an undefined or closed tensor; an open one or none is accepted");
    }
    CallCheck.checkSameDevice(tensor, name, call.query());
    checkType(tensor, name, shape);
    if (!tensor.has_storage() || !tensor.is_contiguous()) {
      throw invalid(
          name + " has sizes " + CallCheck.sizes(tensor) + " with gaps; contiguous is accepted");
    }
    checkSizes(tensor, name, shape, call);
  }

  private static void checkType(Tensor tensor, String name, String shape) {
    ScalarType type = tensor.scalar_type();
    boolean accepted =
        shape.equals(PER_BLOCK)
            ? type.value == ScalarType.Bool.value || type.value == ScalarType.Char.value
            : type.value == ScalarType.Float.value;
    if (!accepted) {
      String types = shape.equals(PER_BLOCK) ? "Bool and Char are" : "Float is";
      throw invalid(name + " is " + type + "; " + types + " accepted");
    }
  }

  private static void checkSizes(Tensor tensor, String name, String shape, SdpaCall call) {
    long rank = shape.equals(PER_BLOCK) ? 4 : shape.equals(PER_ENTRY) ? 2 : 1;
    String wanted = shape;
    boolean fits = tensor.dim() == rank;
    int wantedRank = call.packing().rank();
    if (call.query().dim() == wantedRank
        && call.key().dim() == wantedRank
        && call.value().dim() == wantedRank) {
      Sizes sizes = Geometry.of(call).sizes();
      long heads = sizes.heads();
      wanted = shape.replace("batch", "" + sizes.batch()).replace("heads", "" + heads);
      fits =
          fits
              && (rank == 1
                  ? tensor.size(0) == heads
                  : tensor.size(0) == sizes.batch() && tensor.size(1) == heads);
    }
    if (!fits) {
      throw invalid(
          name + " has sizes " + CallCheck.sizes(tensor) + "; " + wanted + " is accepted");
    }
  }

  private static InvalidAttentionArgumentException invalid(String message) {
    return new InvalidAttentionArgumentException(message);
  }
}
