package org.attn4j.pytorch;

import org.attn4j.AttentionOptions;
import org.attn4j.CausalMask;
import org.attn4j.torch.HookThread;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;

/** PyTorch's own scaled_dot_product_attention, for every packing and causal mask. */
final class TorchSdpa {
  // Kept beyond any PointerScope that may be open when this class is loaded.
  private static final TensorOptional NO_MASK = new TensorOptional().retainReference();
  private static final DoubleOptional NO_SCALE = new DoubleOptional().retainReference();

  private TorchSdpa() {}

  /**
   * Runs the call; the result is the caller's, like any that PyTorch returns. The hook lets it
   * through: this is where PyTorch's own attention is wanted.
   */
  static Tensor run(SdpaCall call) {
    boolean before = HookThread.setPassing(true);
    try {
      return runPassing(call);
    } finally {
      HookThread.setPassing(before);
    }
  }

  private static Tensor runPassing(SdpaCall call) {
    boolean asPyTorchTakesIt =
        (call.packing() == Packing.HND || call.packing() == Packing.SINGLE_HEAD)
            && !hasNoHeads(call.query(), call.key(), call.value())
            && call.options().causalMask() != CausalMask.BOTTOM_RIGHT
            && (call.scale() != null || !call.options().hasSmScale());
    return asPyTorchTakesIt ? runDirectly(call) : runWithTemporaries(call);
  }

  private static Tensor runDirectly(SdpaCall call) {
    return torch.scaled_dot_product_attention(
        call.query(),
        call.key(),
        call.value(),
        call.mask() == null ? NO_MASK : call.mask(),
        call.dropout(),
        call.isCausal(),
        call.scale() == null ? NO_SCALE : call.scale(),
        call.groupedHeads());
  }

  /**
   * The views that the call needs live in a scope of their own. The result leaves it as a second
   * handle, so that it belongs to the caller's scope, or to none.
   */
  private static Tensor runWithTemporaries(SdpaCall call) {
    Tensor inside;
    PointerScope temporaries = new PointerScope();
    try {
      inside = compute(call);
      inside.retainReference();
    } finally {
      temporaries.close();
    }
    Tensor result = new Tensor(inside);
    inside.close();
    return result;
  }

  private static Tensor compute(SdpaCall call) {
    Tensor q = toHnd(call.query(), call);
    Tensor k = toHnd(call.key(), call);
    Tensor v = toHnd(call.value(), call);
    Tensor result = hasNoHeads(q, k, v) ? withoutHeads(call, q, k, v) : compute(call, q, k, v);
    return switch (call.packing()) {
      case HND, SINGLE_HEAD -> result;
      case NHD -> result.transpose(1, 2);
      case PACKED_HEADS ->
          result
              .transpose(1, 2)
              .reshape(result.size(0), result.size(2), result.size(1) * result.size(3));
    };
  }

  private static boolean hasNoHeads(Tensor q, Tensor k, Tensor v) {
    return hasNoHeads(q) || hasNoHeads(k) || hasNoHeads(v);
  }

  private static boolean hasNoHeads(Tensor tensor) {
    return tensor.dim() >= 3 && tensor.size(-3) == 0;
  }

  /**
   * The empty result of a call without heads: the formula, whose products work for any sizes.
   * PyTorch's own function divides by the number of heads, which ends the process
   * (pytorch/pytorch#174939).
   */
  private static Tensor withoutHeads(SdpaCall call, Tensor q, Tensor k, Tensor v) {
    Tensor keys = call.groupedHeads() ? groupsOfNone(k) : k;
    Tensor values = call.groupedHeads() ? groupsOfNone(v) : v;
    return q.matmul(keys.transpose(-2, -1)).softmax(-1).matmul(values);
  }

  /** Heads of key or value, each for the same number of query heads, which is 0. */
  private static Tensor groupsOfNone(Tensor tensor) {
    return tensor.dim() >= 3 && tensor.size(-3) > 1 ? tensor.narrow(-3, 0, 0) : tensor;
  }

  private static Tensor compute(SdpaCall call, Tensor q, Tensor k, Tensor v) {
    CausalMask causal = call.options().causalMask();
    int sequence = CallCheck.sequenceDimension(call.packing());
    long queries = call.query().size(sequence);
    long keys = call.key().size(sequence);
    TensorOptional mask = call.mask() == null ? NO_MASK : call.mask();
    if (causal == CausalMask.BOTTOM_RIGHT && queries != keys) {
      mask = new TensorOptional(bottomRight(call.query(), queries, keys));
      causal = CausalMask.NONE;
    }
    return torch.scaled_dot_product_attention(
        q, k, v, mask, call.dropout(), causal != CausalMask.NONE, scale(call), call.groupedHeads());
  }

  /** Query i sees the keys up to i + keys - queries. */
  private static Tensor bottomRight(Tensor query, long queries, long keys) {
    TensorOptions like = query.options();
    Tensor rows = torch.arange(new Scalar(queries), like.dtype(longType())).unsqueeze(1);
    Tensor columns = torch.arange(new Scalar(keys), like.dtype(longType()));
    return columns.le(rows.add(new Scalar(keys - queries)));
  }

  private static ScalarTypeOptional longType() {
    return new ScalarTypeOptional(torch.ScalarType.Long);
  }

  private static Tensor toHnd(Tensor tensor, SdpaCall call) {
    return switch (call.packing()) {
      case HND, SINGLE_HEAD -> tensor;
      case NHD -> tensor.transpose(1, 2);
      case PACKED_HEADS ->
          tensor
              .view(tensor.size(0), tensor.size(1), call.heads(), tensor.size(2) / call.heads())
              .transpose(1, 2);
    };
  }

  private static DoubleOptional scale(SdpaCall call) {
    AttentionOptions options = call.options();
    if (call.scale() != null) {
      return call.scale();
    }
    return options.hasSmScale() ? new DoubleOptional(options.smScale()) : NO_SCALE;
  }
}
