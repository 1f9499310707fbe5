package org.attn4j.pytorch;

import org.attn4j.TensorShape;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Recognises the masks that our kernels serve: boolean ones of keys, the same for all heads and
 * queries, as they are, without a look at the elements; and, by a look, those that mask nothing or
 * hide the end of each batch entry's keys. Of CUDA masks, what isn't one of them is left to
 * PyTorch, unless the exact backend is chosen; the CPU backend takes any mask on the host as it is.
 */
final class Masks {
  private Masks() {}

  /**
   * Looks at the mask of a call without an obstacle. Where it reads its elements, that waits for
   * the stream of a CUDA mask.
   *
   * @param inspectDevice whether that is wanted
   * @param exact whether the exact backend is chosen, whose kernels read masks on the device
   */
  static MaskFinding find(SdpaCall call, boolean inspectDevice, boolean exact) {
    if (!call.hasMask()) {
      return MaskFinding.NOTHING_MASKED;
    }
    boolean onDevice = call.mask().get().is_cuda();
    return onDevice == call.query().is_cuda()
        ? find(call, inspectDevice, exact, onDevice)
        : MaskFinding.refused("attn_mask is on another device or of an unusual rank");
  }

  /** As {@link #find(SdpaCall, boolean, boolean)}, as if the tensors were on a GPU, or not. */
  static MaskFinding find(SdpaCall call, boolean inspectDevice, boolean exact, boolean onDevice) {
    Tensor mask = call.mask().get();
    long rank = mask.dim();
    if (rank < 2 || rank > 4) {
      return MaskFinding.refused("attn_mask is on another device or of an unusual rank");
    }
    boolean ofKeys = onDevice && isOfKeys(call, mask);
    boolean inspects = inspectDevice && !(ofKeys && TorchCuda.capturing());
    if (onDevice && (exact || ofKeys && !inspects) && fits(call, mask)) {
      return dense(call, mask);
    }
    if (onDevice && !inspectDevice) {
      return MaskFinding.refused(
          "attn_mask is on the device and is not inspected, which would wait for the stream");
    }
    if (onDevice && TorchCuda.capturing()) {
      return MaskFinding.refused("attn_mask can't be inspected while a graph is captured");
    }
    if (!fits(call, mask)) {
      return MaskFinding.refused("attn_mask makes the output larger than query");
    }
    MaskFinding finding = inspect(call, mask);
    return finding.obstacle() == null || onDevice && !ofKeys ? finding : dense(call, mask);
  }

  /** Whether it is boolean and the same for all heads and queries: all our kernels serve it. */
  private static boolean isOfKeys(SdpaCall call, Tensor mask) {
    TensorShape shape = shape(call, mask);
    return mask.scalar_type().value == ScalarType.Bool.value
        && (shape.size(1) == 1 || shape.stride(1) == 0)
        && (shape.size(2) == 1 || shape.stride(2) == 0);
  }

  /** Whether the mask's batch and heads are those of query or 1: else the output would grow. */
  private static boolean fits(SdpaCall call, Tensor mask) {
    long rank = mask.dim();
    Operand q = Operand.of(call.query(), call.packing(), call.heads());
    boolean batchAtThree = call.packing() == Packing.SINGLE_HEAD;
    long atThree = rank > 2 ? mask.size(-3) : 1;
    if (batchAtThree && rank > 3) {
      return false;
    }
    long atFour = rank > 3 ? mask.size(-4) : 1;
    long wantedAtThree = batchAtThree ? q.batch() : q.heads();
    return (atThree == 1 || atThree == wantedAtThree) && (atFour == 1 || atFour == q.batch());
  }

  @SuppressWarnings("try") // the scope is there to be closed
  private static MaskFinding inspect(SdpaCall call, Tensor mask) {
    Tensor lengths;
    try (PointerScope temporaries = new PointerScope()) {
      Tensor keep = keep(mask);
      if (keep == null) {
        return MaskFinding.refused("attn_mask adds numbers other than 0 and -inf");
      }
      if (keep.all().item_bool()) {
        return MaskFinding.NOTHING_MASKED;
      }
      lengths = call.packing() == Packing.SINGLE_HEAD ? null : keyLengths(call, keep);
      if (lengths == null) {
        return MaskFinding.refused("attn_mask is dense");
      }
      lengths.retainReference(); // outlives the scope; the receiver's close() frees it
    }
    return new MaskFinding(lengths, null, null);
  }

  /** A mask as it is. */
  private static MaskFinding dense(SdpaCall call, Tensor mask) {
    if (call.isCausal()) {
      return MaskFinding.refused("attn_mask and is_causal are both set, which PyTorch refuses");
    }
    return Obstacles.isReadable(mask)
        ? MaskFinding.dense(mask)
        : MaskFinding.refused("attn_mask has no memory that our backends reach");
  }

  /** The mask as (batch, heads, queries, keys), 1 where it is the same for all. */
  static TensorShape shape(SdpaCall call, Tensor mask) {
    long[] sizes = {1, 1, mask.size(-2), mask.size(-1)};
    long[] strides = {0, 0, mask.stride(-2), mask.stride(-1)};
    int rank = (int) mask.dim();
    int third = call.packing() == Packing.SINGLE_HEAD ? 0 : 1; // what the third from the end is
    if (rank > 2) {
      sizes[third] = mask.size(-3);
      strides[third] = mask.stride(-3);
    }
    if (rank > 3) {
      sizes[0] = mask.size(-4);
      strides[0] = mask.stride(-4);
    }
    return TensorShape.strided(sizes, strides);
  }

  /** Which keys count, as booleans; null for an additive mask that does more than that. */
  private static Tensor keep(Tensor mask) {
    if (mask.scalar_type().value == ScalarType.Bool.value) {
      return mask;
    }
    Tensor zero = mask.eq(new Scalar(0.0));
    Tensor hidden = mask.eq(new Scalar(Double.NEGATIVE_INFINITY));
    return zero.logical_or(hidden).all().item_bool() ? zero : null;
  }

  /** The lengths if each batch entry's keys count up to some length of 1 or more, else null. */
  private static Tensor keyLengths(SdpaCall call, Tensor keep) {
    int sequence = CallCheck.sequenceDimension(call.packing());
    long keys = call.key().size(sequence);
    long batch = Math.max(call.query().size(0), Math.max(call.key().size(0), call.value().size(0)));
    Tensor rows = keep;
    for (int fromEnd = 3; fromEnd >= 2; fromEnd--) { // heads, then queries
      long dimension = rows.dim() - fromEnd;
      if (dimension < 0) {
        continue;
      }
      if (rows.size(dimension) != 1 && rows.stride(dimension) != 0) {
        return null; // differs from head to head or from query to query
      }
      rows = rows.narrow(dimension, 0, 1);
    }
    if (rows.size(-1) != keys) {
      return null;
    }
    rows = rows.reshape(-1, keys);
    Tensor lengths = rows.sum(-1);
    TensorOptions like = lengths.options();
    Tensor prefix = torch.arange(new Scalar(keys), like).less(lengths.unsqueeze(-1));
    if (!prefix.equal(rows) || lengths.min().item_long() < 1) {
      return null;
    }
    return lengths.to(ScalarType.Int).expand(batch).contiguous();
  }
}
