package org.attn4j.pytorch;

import java.util.StringJoiner;
import org.attn4j.AttentionOptions;
import org.attn4j.CausalMask;
import org.attn4j.InvalidAttentionArgumentException;
import org.attn4j.TensorLayout;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.DeviceType;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * Arguments that PyTorch refuses too, found first, so that the message names the argument; and
 * values of another length than the keys, which PyTorch's CPU kernel reads beyond their end. What
 * is not refused here may still be refused by PyTorch.
 */
final class CallCheck {
  private CallCheck() {}

  static void check(SdpaCall call) {
    Tensor q = call.query();
    Tensor k = call.key();
    Tensor v = call.value();
    checkTensor(q, "query", call);
    checkTensor(k, "key", call);
    checkTensor(v, "value", call);
    if (call.packing() == Packing.PACKED_HEADS) {
      checkPackedHeads(call);
    }
    checkSameDevice(k, "key", q);
    checkSameDevice(v, "value", q);
    if (!autocasts(q)) { // which converts what differs
      checkSameType(k, "key", q);
      checkSameType(v, "value", q);
    }
    checkSizes(call);
    checkHeads(call);
    if (call.dropout() > 1) {
      throw invalid("dropout_p is " + call.dropout() + "; a probability from 0 to 1 is accepted");
    }
    if (call.hasMask()) {
      checkMask(call);
    }
    SparsityCheck.check(call);
  }

  private static void checkTensor(Tensor tensor, String name, SdpaCall call) {
    if (tensor == null || tensor.isNull()) {
      throw invalid(name + " is null; a tensor is needed");
    }
    if (!tensor.defined()) {
      throw invalid(name + " is an undefined tensor; one with elements is needed");
    }
    long rank = tensor.dim();
    boolean asPyTorch = // which aligns tensors of different ranks from the right
        call.packing() == Packing.HND || call.packing() == Packing.SINGLE_HEAD;
    if (asPyTorch ? rank < 2 : rank != call.packing().rank()) {
      throw invalid(name + " has rank " + rank + "; " + acceptedRank(call.packing()));
    }
  }

  private static String acceptedRank(Packing packing) {
    return switch (packing) {
      case HND, SINGLE_HEAD -> "2 or more is accepted: (..., sequence, channel)";
      case NHD -> "4 is accepted: (batch, sequence, head, channel)";
      case PACKED_HEADS -> "3 is accepted: (batch, sequence, heads * channel)";
    };
  }

  private static void checkPackedHeads(SdpaCall call) {
    if (call.heads() < 1) {
      throw invalid("heads is " + call.heads() + "; 1 or more is accepted");
    }
    checkDivisible(call.query(), "query", call.heads());
    checkDivisible(call.key(), "key", call.heads());
    checkDivisible(call.value(), "value", call.heads());
  }

  private static void checkDivisible(Tensor tensor, String name, int heads) {
    if (tensor.size(2) % heads != 0) {
      throw invalid(
          name
              + " has "
              + tensor.size(2)
              + " channels and heads is "
              + heads
              + "; the first must be a multiple of the second");
    }
  }

  static void checkSameDevice(Tensor tensor, String name, Tensor query) {
    boolean cuda = query.is_cuda();
    boolean same =
        cuda
            ? tensor.is_cuda() && TorchCuda.device(tensor) == TorchCuda.device(query)
            : !tensor.is_cuda() && tensor.is_cpu() == query.is_cpu();
    if (!same) {
      throw invalid(
          name
              + " is on "
              + device(tensor)
              + " and query on "
              + device(query)
              + "; they must be on the same device");
    }
  }

  private static String device(Tensor tensor) {
    if (tensor.is_cuda()) {
      return "CUDA device " + TorchCuda.device(tensor);
    }
    return tensor.is_cpu() ? "the CPU" : "another device";
  }

  private static void checkSameType(Tensor tensor, String name, Tensor query) {
    ScalarType type = tensor.scalar_type();
    ScalarType wanted = query.scalar_type();
    if (type.value != wanted.value) {
      throw invalid(name + " is " + type + " and query is " + wanted + "; they must agree");
    }
  }

  /** Whether PyTorch's autocast is on for the device of the tensor. */
  static boolean autocasts(Tensor tensor) {
    return torch.is_autocast_enabled(tensor.is_cuda() ? DeviceType.CUDA : DeviceType.CPU);
  }

  private static void checkSizes(SdpaCall call) {
    Tensor q = call.query();
    Tensor k = call.key();
    Tensor v = call.value();
    if (q.size(-1) != k.size(-1)) {
      throw invalid(
          "key has " + k.size(-1) + " channels and query " + q.size(-1) + "; they must agree");
    }
    int sequence = sequenceDimension(call.packing());
    if (k.size(sequence) != v.size(sequence)) {
      throw invalid(
          "value has length "
              + v.size(sequence)
              + " and key "
              + k.size(sequence)
              + "; they must agree");
    }
  }

  static int sequenceDimension(Packing packing) {
    return packing == Packing.NHD ? -3 : -2;
  }

  private static void checkHeads(SdpaCall call) {
    Tensor q = call.query();
    Tensor k = call.key();
    Tensor v = call.value();
    int rank = (int) q.dim();
    if (k.dim() != rank || v.dim() != rank) {
      return; // PyTorch aligns the shapes from the right
    }
    int headDimension =
        switch (call.packing()) {
          case HND -> rank - 3;
          case NHD -> 2;
          case SINGLE_HEAD -> 0; // with enable_gqa it is the heads that PyTorch takes it for
          case PACKED_HEADS -> -1; // not a dimension of its own
        };
    boolean grouped = call.groupedHeads() && headDimension >= 0;
    int sequence = rank + sequenceDimension(call.packing());
    for (int i = 0; i < rank - 1; i++) {
      if (i != sequence && !(grouped && i == headDimension)) {
        checkBroadcast(call, i);
      }
    }
    if (grouped) {
      checkGroup(q.size(headDimension), k.size(headDimension), "key");
      checkGroup(q.size(headDimension), v.size(headDimension), "value");
    }
  }

  private static void checkBroadcast(SdpaCall call, int dimension) {
    long q = call.query().size(dimension);
    long k = call.key().size(dimension);
    long v = call.value().size(dimension);
    if (k != q && k != 1 && q != 1) {
      throw mismatch("key", call.key(), "query", call.query(), dimension);
    }
    if (v != k && v != 1 && k != 1) {
      throw mismatch("value", call.value(), "key", call.key(), dimension);
    }
    if (v != q && v != 1 && q != 1) {
      throw mismatch("value", call.value(), "query", call.query(), dimension);
    }
  }

  private static InvalidAttentionArgumentException mismatch(
      String name, Tensor tensor, String other, Tensor otherTensor, int dimension) {
    return invalid(
        name
            + " has sizes "
            + sizes(tensor)
            + " and "
            + other
            + " "
            + sizes(otherTensor)
            + "; dimension "
            + dimension
            + " must agree or be 1 in one of them");
  }

  private static void checkGroup(long queryHeads, long heads, String name) {
    if (heads == 0 ? queryHeads != 0 : queryHeads % heads != 0) {
      throw invalid(
          "query has "
              + queryHeads
              + " heads and "
              + name
              + " "
              + heads
              + "; with enable_gqa the first must be a multiple of the second");
    }
  }

  private static void checkMask(SdpaCall call) {
    Tensor mask = call.mask().get();
    if (!mask.defined()) {
      throw invalid("attn_mask is an undefined tensor; a mask or none is accepted");
    }
    if (call.options().causalMask() == CausalMask.BOTTOM_RIGHT) {
      throw invalid("attn_mask is set and the causal mask is BOTTOM_RIGHT; put both into the mask");
    }
    ScalarType type = mask.scalar_type();
    ScalarType query = call.query().scalar_type();
    boolean accepted =
        type.value == ScalarType.Bool.value
            || type.value == ScalarType.Float.value
            || type.value == query.value;
    if (!accepted && !autocasts(call.query())) {
      throw invalid(
          "attn_mask is "
              + type
              + " and query is "
              + query
              + "; a boolean mask or one of query's type is accepted");
    }
    long rank = mask.dim();
    if (rank < 2) {
      return; // PyTorch's own rules
    }
    int sequence = sequenceDimension(call.packing());
    long queries = call.query().size(sequence);
    long keys = call.key().size(sequence);
    if (mask.size(-1) != keys && mask.size(-1) != 1
        || mask.size(-2) != queries && mask.size(-2) != 1) {
      throw invalid(
          "attn_mask has sizes "
              + sizes(mask)
              + "; (..., "
              + queries
              + ", "
              + keys
              + ") or 1 in place of either is accepted");
    }
  }

  static String sizes(Tensor tensor) {
    StringJoiner text = new StringJoiner(", ", "[", "]");
    for (int i = 0; i < tensor.dim(); i++) {
      text.add(Long.toString(tensor.size(i)));
    }
    return text.toString();
  }

  private static InvalidAttentionArgumentException invalid(String message) {
    return new InvalidAttentionArgumentException(message);
  }

  /** The options, which are there. */
  static AttentionOptions options(AttentionOptions options) {
    if (options == null) {
      throw new InvalidAttentionArgumentException(
          "options is null; AttentionOptions.DEFAULTS or options of your own are needed");
    }
    return options;
  }

  /** The options, which may be those of a scope or the process. */
  static AttentionOptions scopeOptions(AttentionOptions options) {
    options(options);
    if (options.layout() != TensorLayout.HND
        || options.causalMask() != CausalMask.NONE
        || options.hasSmScale()) {
      throw new InvalidAttentionArgumentException(
          "options is "
              + options
              + "; a layout, a causal mask and a scale belong to a call, not to a scope");
    }
    return options;
  }
}
