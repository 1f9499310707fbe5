package org.attn4j.pytorch;

import org.attn4j.SdpaBackend;
import org.attn4j.backend.BackendChain;
import org.bytedeco.pytorch.GradMode;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Why a call can't be put as a request to our own backends. PyTorch's SDPA serves it then. Masks
 * are looked at elsewhere: {@link Masks}.
 */
final class Obstacles {
  private Obstacles() {}

  /**
   * The first obstacle, or null.
   *
   * @param chosen the backend that the options or the system property name
   */
  static String find(SdpaCall call, SdpaBackend chosen) {
    return find(call, chosen, call.query().is_cuda());
  }

  /** As if the tensors were on a CUDA device, or not; tests compare the hook's rules with it. */
  static String find(SdpaCall call, SdpaBackend chosen, boolean cuda) {
    if (call.needsSparge() && !cuda) {
      return "query is not on a CUDA device, where SpargeAttn runs";
    }
    String obstacle = ofArguments(call);
    if (obstacle == null) {
      obstacle = cuda ? ofCudaTensors(call) : ofHostTensors(call, chosen);
    }
    if (obstacle == null) {
      obstacle = ofShapes(call);
    }
    return obstacle;
  }

  private static String ofArguments(SdpaCall call) {
    if (call.dropout() != 0) {
      return "dropout_p is not 0; our kernels have no dropout";
    }
    if (call.packing() == Packing.HND && call.query().dim() != 4) {
      return "query is not of rank 3 or 4";
    }
    int rank = call.packing().rank();
    if (call.key().dim() != rank || call.value().dim() != rank) {
      return "query, key and value are of different ranks";
    }
    if (call.packing() == Packing.SINGLE_HEAD && call.groupedHeads()) {
      return "enable_gqa is set and the tensors are of rank 3";
    }
    if (GradMode.is_enabled() && requiresGrad(call)) {
      return "a gradient is required; our kernels have no backward pass";
    }
    if (CallCheck.autocasts(call.query())) {
      return "autocast is on, which may convert the arguments";
    }
    if (call.scale() != null
        && call.scale().has_value()
        && !Float.isFinite((float) call.scale().get())) {
      return "scale is not finite";
    }
    return null;
  }

  private static boolean requiresGrad(SdpaCall call) {
    return call.query().requires_grad()
        || call.key().requires_grad()
        || call.value().requires_grad()
        || call.hasMask() && call.mask().get().requires_grad();
  }

  private static String ofCudaTensors(SdpaCall call) {
    byte type = call.query().scalar_type().value;
    if (type != ScalarType.Half.value && type != ScalarType.BFloat16.value) {
      return "query is " + call.query().scalar_type() + "; Half and BFloat16 are accepted";
    }
    String obstacle = ofTensors(call);
    if (obstacle == null && !(isRows(call.query()) && isRows(call.key()) && isRows(call.value()))) {
      return "the channels of a tensor don't lie next to each other";
    }
    return obstacle;
  }

  private static boolean isRows(Tensor tensor) {
    return tensor.stride(-1) == 1 || tensor.size(-1) == 1;
  }

  private static String ofHostTensors(SdpaCall call, SdpaBackend chosen) {
    if (!call.query().is_cpu()) {
      return "query is neither on a CUDA device nor on the CPU";
    }
    if (chosen != SdpaBackend.CPU) {
      return BackendChain.CALLERS_MEMORY;
    }
    byte type = call.query().scalar_type().value;
    if (type != ScalarType.Half.value
        && type != ScalarType.BFloat16.value
        && type != ScalarType.Float.value) {
      return "query is " + call.query().scalar_type() + "; Half, BFloat16 and Float are accepted";
    }
    String obstacle = ofTensors(call);
    return obstacle == null && !fitsBuffers(call)
        ? "a tensor reaches over more than 2147483647 bytes of host memory"
        : obstacle;
  }

  /** Whether ByteBuffers hold the tensors of a call, whose ranks are those of the packing. */
  private static boolean fitsBuffers(SdpaCall call) {
    Sizes sizes = Geometry.of(call).sizes();
    double output = (double) sizes.batch() * sizes.heads() * sizes.queries() * sizes.headDim();
    return reach(call.query()) <= Integer.MAX_VALUE
        && reach(call.key()) <= Integer.MAX_VALUE
        && reach(call.value()) <= Integer.MAX_VALUE
        && output * call.query().element_size() <= Integer.MAX_VALUE;
  }

  /** The bytes from a tensor's first element to the end of its last. */
  private static double reach(Tensor tensor) {
    double elements = 1;
    for (int i = 0; i < tensor.dim(); i++) {
      elements += (tensor.size(i) - 1.0) * tensor.stride(i);
    }
    return elements * tensor.element_size();
  }

  private static String ofTensors(SdpaCall call) {
    if (!isPlain(call.query()) || !isPlain(call.key()) || !isPlain(call.value())) {
      return "a tensor is sparse, nested, negated lazily or has no memory";
    }
    return null;
  }

  /** Whether a tensor's memory can be read: on the host through a ByteBuffer. */
  static boolean isReadable(Tensor tensor) {
    return isPlain(tensor) && (tensor.is_cuda() || reach(tensor) <= Integer.MAX_VALUE);
  }

  private static boolean isPlain(Tensor tensor) {
    return tensor.has_storage()
        && !tensor.is_nested()
        && !tensor.is_neg()
        && !tensor._is_zerotensor();
  }

  private static String ofShapes(SdpaCall call) {
    if (call.query().size(-1) != call.value().size(-1)) {
      return "value has other channels than query";
    }
    if (call.query().numel() == 0 || call.key().numel() == 0 || call.value().numel() == 0) {
      return "a tensor is empty";
    }
    if (call.groupedHeads() && call.packing() != Packing.PACKED_HEADS) {
      int heads = call.packing() == Packing.HND ? 1 : 2;
      if (call.key().size(heads) != call.value().size(heads)) {
        return "key and value have different numbers of heads";
      }
    }
    return null;
  }
}
