package org.attn4j;

import java.util.Arrays;

/**
 * The checks of a request that need no backend. One sentence per failure: argument, value found,
 * what is accepted.
 */
final class RequestValidation {
  private RequestValidation() {}

  static AttentionDims check(AttentionRequest.Builder request) {
    if (request.options == null) {
      throw invalid("options is null; AttentionOptions.DEFAULTS or options of your own are needed");
    }
    checkTensor(request.q, "q", request.q);
    checkTensor(request.k, "k", request.q);
    checkTensor(request.v, "v", request.q);
    checkTensor(request.o, "o", request.q);
    TensorLayout layout = request.options.layout();
    AttentionDims dims = new AttentionDims(layout, request.q.shape(), request.k.shape());
    checkSizes(request, dims);
    checkHeads(dims);
    checkOutput(request);
    checkLse(request, dims);
    checkKvLengths(request, dims);
    checkMask(request, dims);
    checkPacked(request, dims);
    checkSparsity(request, dims);
    checkStream(request);
    return dims;
  }

  private static void checkTensor(AttentionTensor tensor, String name, AttentionTensor q) {
    if (tensor == null) {
      throw invalid(name + " is null; a tensor of rank 4 is needed");
    }
    if (tensor.shape().rank() != 4) {
      throw invalid(name + " has rank " + tensor.shape().rank() + "; rank 4 is accepted");
    }
    checkPlace(tensor, name, q);
    DType dtype = tensor.dtype();
    if (!dtype.isFloatingPoint()) {
      throw invalid(
          name + " is " + dtype + "; FLOAT16 and BFLOAT16 are accepted, FLOAT32 on the host");
    }
    if (dtype != q.dtype()) {
      throw invalid(name + " is " + dtype + " and q is " + q.dtype() + "; they must agree");
    }
    if (tensor.isDevice()) {
      checkDeviceStrides(tensor, name);
    }
    if (tensor.size(3) < 1) {
      throw invalid(name + " has head_dim 0; 1 or more is accepted");
    }
  }

  private static void checkPlace(AttentionTensor tensor, String name, AttentionTensor q) {
    if (tensor.isClosed()) {
      throw new ClosedTensorException(name + " is closed; an open tensor is needed");
    }
    if (tensor.isDevice() != q.isDevice()) {
      throw invalid(
          name
              + " is "
              + kind(tensor)
              + " memory and q is "
              + kind(q)
              + " memory; all tensors must be in the same kind");
    }
    if (tensor instanceof DeviceTensor here
        && q instanceof DeviceTensor there
        && here.device() != there.device()) {
      throw invalid(
          name
              + " is on device "
              + here.device()
              + " and q on device "
              + there.device()
              + "; all tensors must be on the same device");
    }
  }

  private static void checkDeviceStrides(AttentionTensor tensor, String name) {
    if (tensor.size(3) > 1 && tensor.stride(3) != 1) {
      throw invalid(
          name
              + ".stride[3] is "
              + tensor.stride(3)
              + "; the channels of a device tensor must be contiguous (stride 1)");
    }
    checkNoNegativeStrides(tensor, name, 3);
  }

  private static void checkNoNegativeStrides(AttentionTensor tensor, String name, int dimensions) {
    for (int i = 0; i < dimensions; i++) {
      if (tensor.size(i) > 1 && tensor.stride(i) < 0) {
        throw invalid(
            name
                + ".stride["
                + i
                + "] is "
                + tensor.stride(i)
                + "; the strides of a device tensor must not be negative");
      }
    }
  }

  private static void checkSizes(AttentionRequest.Builder request, AttentionDims dims) {
    if (!request.k.shape().sameSizes(request.v.shape())) {
      throw invalid(
          "v has sizes " + sizes(request.v) + " and k " + sizes(request.k) + "; they must agree");
    }
    if (!request.o.shape().sameSizes(request.q.shape())) {
      throw invalid(
          "o has sizes " + sizes(request.o) + " and q " + sizes(request.q) + "; they must agree");
    }
    if (request.k.size(0) != dims.batch()) {
      throw invalid(
          "k has batch " + request.k.size(0) + " and q " + dims.batch() + "; they must agree");
    }
    if (request.k.size(3) != dims.headDim()) {
      throw invalid(
          "k has head_dim " + request.k.size(3) + " and q " + dims.headDim() + "; they must agree");
    }
  }

  private static void checkHeads(AttentionDims dims) {
    boolean valid = dims.headsKv() == 0 ? dims.headsQ() == 0 : dims.headsQ() % dims.headsKv() == 0;
    if (!valid) {
      throw invalid(
          "q has "
              + dims.headsQ()
              + " heads and k has "
              + dims.headsKv()
              + "; the first must be a multiple of the second");
    }
  }

  private static void checkOutput(AttentionRequest.Builder request) {
    AttentionTensor o = request.o;
    for (int i = 0; i < 4; i++) {
      if (o.size(i) > 1 && o.stride(i) == 0) {
        throw invalid("o.stride[" + i + "] is 0; the output's elements must not share memory");
      }
    }
    if (Overlap.possible(o, request.q)) {
      throw invalid(overlapMessage("q"));
    }
    if (Overlap.possible(o, request.k)) {
      throw invalid(overlapMessage("k"));
    }
    if (Overlap.possible(o, request.v)) {
      throw invalid(overlapMessage("v"));
    }
  }

  private static String overlapMessage(String name) {
    return "o overlaps " + name + "; the output needs memory of its own";
  }

  private static void checkLse(AttentionRequest.Builder request, AttentionDims dims) {
    AttentionTensor lse = request.lse;
    if (lse == null) {
      return;
    }
    checkPlace(lse, "lse", request.q);
    boolean fits =
        lse.dtype() == DType.FLOAT32
            && lse.shape().rank() == 3
            && lse.size(0) == dims.batch()
            && lse.size(1) == dims.headsQ()
            && lse.size(2) == dims.queries()
            && lse.shape().isContiguous();
    if (!fits) {
      throw invalid(
          "lse is "
              + lse.dtype()
              + " "
              + lse.shape()
              + "; contiguous FLOAT32 ["
              + dims.batch()
              + ", "
              + dims.headsQ()
              + ", "
              + dims.queries()
              + "] is accepted");
    }
    if (Overlap.possible(lse, request.o)
        || Overlap.possible(lse, request.q)
        || Overlap.possible(lse, request.k)
        || Overlap.possible(lse, request.v)) {
      throw invalid("lse overlaps q, k, v or o; it needs memory of its own");
    }
  }

  private static void checkKvLengths(AttentionRequest.Builder request, AttentionDims dims) {
    AttentionTensor lengths = request.kvLengths;
    if (lengths == null) {
      return;
    }
    checkPlace(lengths, "kvLengths", request.q);
    boolean fits =
        lengths.dtype() == DType.INT32
            && lengths.shape().rank() == 1
            && lengths.size(0) == dims.batch()
            && lengths.shape().isContiguous();
    if (!fits) {
      throw invalid(
          "kvLengths is "
              + lengths.dtype()
              + " "
              + lengths.shape()
              + "; contiguous INT32 ["
              + dims.batch()
              + "] is accepted");
    }
  }

  private static void checkMask(AttentionRequest.Builder request, AttentionDims dims) {
    if (request.mask == null) {
      return;
    }
    for (AttentionTensor tensor : request.mask.tensors()) {
      checkPlace(tensor, "mask", request.q);
      if (tensor.isDevice()) {
        checkNoNegativeStrides(tensor, "mask", tensor.shape().rank());
      }
      boolean overlaps =
          Overlap.possible(tensor, request.o)
              || request.lse != null && Overlap.possible(tensor, request.lse);
      if (overlaps) {
        throw invalid("mask overlaps o or lse; the outputs need memory of their own");
      }
    }
    request.mask.check(dims);
  }

  private static void checkPacked(AttentionRequest.Builder request, AttentionDims dims) {
    if (request.packed == null) {
      return;
    }
    if (request.kvLengths != null || request.mask != null) {
      throw invalid(
          (request.mask != null ? "mask" : "kvLengths")
              + " is set beside packed sequences, which take neither lengths nor masks but a causal"
              + " one");
    }
    for (AttentionTensor tensor : request.packed.tensors()) {
      checkPlace(tensor, "packed", request.q);
      if (Overlap.possible(tensor, request.o)
          || request.lse != null && Overlap.possible(tensor, request.lse)) {
        throw invalid("packed overlaps o or lse; the outputs need memory of their own");
      }
    }
    request.packed.check(dims);
  }

  private static void checkSparsity(AttentionRequest.Builder request, AttentionDims dims) {
    if (request.sparsityTensors == null) {
      throw invalid("sparsityTensors is null; SparsityTensors.NONE or tensors are needed");
    }
    request.sparsityTensors.check(request.q, dims, request.options.sparsity());
  }

  private static void checkStream(AttentionRequest.Builder request) {
    checkWorkspace(request.workspace, request.q);
    if (request.stream == null) {
      return;
    }
    if (!(request.q instanceof DeviceTensor q)) {
      throw notOnHost("stream");
    }
    if (request.stream.device() != q.device()) {
      throw invalid(
          "stream is on device "
              + request.stream.device()
              + " and q on device "
              + q.device()
              + "; they must agree");
    }
  }

  static void checkWorkspace(DeviceMemory workspace, AttentionTensor queries) {
    if (workspace == null) {
      return;
    }
    if (!(queries instanceof DeviceTensor q)) {
      throw notOnHost("workspace");
    }
    if (workspace.device() != q.device()) {
      throw invalid(
          "workspace is on device "
              + workspace.device()
              + " and q on device "
              + q.device()
              + "; they must agree");
    }
  }

  private static InvalidAttentionArgumentException notOnHost(String name) {
    return invalid(
        name + " is set and q is host memory; host tensors take neither stream nor workspace");
  }

  private static String kind(AttentionTensor tensor) {
    return tensor.isDevice() ? "device" : "host";
  }

  private static String sizes(AttentionTensor tensor) {
    return Arrays.toString(tensor.shape().sizes());
  }

  private static InvalidAttentionArgumentException invalid(String message) {
    return new InvalidAttentionArgumentException(message);
  }
}
