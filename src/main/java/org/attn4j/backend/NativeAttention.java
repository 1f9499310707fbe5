package org.attn4j.backend;

import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.AttentionTensor;
import org.attn4j.BlockGrid;
import org.attn4j.CausalMask;
import org.attn4j.DType;
import org.attn4j.DeviceMemory;
import org.attn4j.DeviceTensor;
import org.attn4j.SparsityOptions;
import org.attn4j.SparsityTensors;
import org.attn4j.TensorLayout;
import org.attn4j.natives.AttentionParams;
import org.attn4j.natives.SparsityParams;
import org.attn4j.natives.TensorView;
import org.attn4j.natives.Workspace;
import org.attn4j.natives.global.attn4j;
import org.bytedeco.cuda.cudart.CUstream_st;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Pointer;

/**
 * The only class that touches the generated attention bindings. One call fills the calling thread's
 * parameter struct and makes one native call; it allocates nothing on the Java heap.
 */
final class NativeAttention {
  private static final ThreadLocal<NativeAttention> OF_THREAD =
      ThreadLocal.withInitial(NativeAttention::new);

  // Java's enums in the order of the header's, so that a call needs no lookup by name.
  private static final attn4j.DType[] DTYPES = {attn4j.DType.kFloat16, attn4j.DType.kBFloat16};
  private static final attn4j.TensorLayout[] LAYOUTS = {
    attn4j.TensorLayout.kHND, attn4j.TensorLayout.kNHD
  };
  private static final attn4j.QuantGranularity[] GRANULARITIES = {
    attn4j.QuantGranularity.kPerBlock,
    attn4j.QuantGranularity.kPerWarp,
    attn4j.QuantGranularity.kPerThread
  };
  private static final attn4j.PvAccumDType[] ACCUMULATORS = {
    attn4j.PvAccumDType.kDefault,
    attn4j.PvAccumDType.kFp32,
    attn4j.PvAccumDType.kFp16,
    attn4j.PvAccumDType.kFp16Fp32,
    attn4j.PvAccumDType.kFp32Fp32,
    attn4j.PvAccumDType.kFp32Fp16
  };

  // Retained: made inside a caller's PointerScope, it would be freed with that scope.
  private final AttentionParams params = new AttentionParams().retainReference();
  // Views into params, made once: a getter makes a new object each time.
  private final TensorView q = params.q();
  private final TensorView k = params.k();
  private final TensorView v = params.v();
  private final TensorView o = params.o();
  private final SparsityParams sparsity = new SparsityParams().retainReference();
  private final Workspace workspace = new Workspace().retainReference();
  private final Address address = new Address();
  private AttentionRequest filled; // what params and sparsity hold
  private long kernelNameAddress; // of the last kernel that was described
  private String kernelName = "";

  private NativeAttention() {}

  /** A Pointer whose address can change, for setters that take a Pointer. */
  private static final class Address extends Pointer {
    Pointer at(long value) {
      address = value;
      return value == 0 ? null : this;
    }
  }

  /** Whether the native library has a kernel for the request, and the workspace that it needs. */
  static Support supports(NativeKernel kernel, AttentionRequest request) {
    NativeAttention frame = OF_THREAD.get();
    frame.fill(request);
    long bytes = frame.workspaceSize(kernel);
    if (bytes >= 0) {
      return Support.served(frame.describe(kernel), bytes);
    }
    int status = (int) -bytes;
    String reason = lastError();
    if (status == NativeStatus.UNSUPPORTED) {
      return Support.refused(reason);
    }
    throw NativeStatus.exception(status, reason);
  }

  /** Enqueues the request. {@code scratch} may be null if the request needs none. */
  static void run(NativeKernel kernel, AttentionRequest request, DeviceMemory scratch) {
    NativeAttention frame = OF_THREAD.get();
    frame.fill(request);
    frame.workspace.data(frame.address.at(scratch == null ? 0 : scratch.address()));
    frame.workspace.size(scratch == null ? 0 : scratch.byteSize());
    int status = frame.enqueue(kernel, request.stream().handle());
    frame.filled = null; // the call is over: don't keep its tensors alive
    if (status != NativeStatus.OK) {
      throw NativeStatus.exception(status, lastError());
    }
  }

  /**
   * The blocks of a request.
   *
   * @throws org.attn4j.UnsupportedAttentionException if SpargeAttn can't serve it
   */
  static BlockGrid blockGrid(AttentionRequest request) {
    NativeAttention frame = OF_THREAD.get();
    frame.fill(request);
    try (var grid = new org.attn4j.natives.BlockGrid()) {
      int status = attn4j.spas_block_grid(frame.params, grid);
      if (status != NativeStatus.OK) {
        throw NativeStatus.exception(status, lastError());
      }
      return new BlockGrid(
          grid.query_block(), grid.key_block(), grid.query_blocks(), grid.key_blocks());
    }
  }

  private long workspaceSize(NativeKernel kernel) {
    return switch (kernel) {
      case SAGE -> attn4j.sageattn_workspace_size(params);
      case SAGE_QK_INT8_PV_FP16 -> attn4j.sageattn_qk_int8_pv_fp16_cuda_workspace_size(params);
      case SAGE_QK_INT8_PV_FP8_SM90 ->
          attn4j.sageattn_qk_int8_pv_fp8_cuda_sm90_workspace_size(params);
      case SPAS_MEANSIM -> attn4j.spas_sage2_attn_meansim_cuda_workspace_size(params, sparsity);
      case SPAS_MEANSIM_TOPK ->
          attn4j.spas_sage2_attn_meansim_topk_cuda_workspace_size(params, sparsity);
      case BLOCK_SPARSE -> attn4j.block_sparse_sage2_attn_cuda_workspace_size(params, sparsity);
      case EXACT -> attn4j.exact_attn_workspace_size(params);
    };
  }

  private int enqueue(NativeKernel kernel, CUstream_st stream) {
    return switch (kernel) {
      case SAGE -> attn4j.sageattn(params, workspace, stream);
      case SAGE_QK_INT8_PV_FP16 -> attn4j.sageattn_qk_int8_pv_fp16_cuda(params, workspace, stream);
      case SAGE_QK_INT8_PV_FP8_SM90 ->
          attn4j.sageattn_qk_int8_pv_fp8_cuda_sm90(params, workspace, stream);
      case SPAS_MEANSIM -> attn4j.spas_sage2_attn_meansim_cuda(params, sparsity, workspace, stream);
      case SPAS_MEANSIM_TOPK ->
          attn4j.spas_sage2_attn_meansim_topk_cuda(params, sparsity, workspace, stream);
      case BLOCK_SPARSE -> attn4j.block_sparse_sage2_attn_cuda(params, sparsity, workspace, stream);
      case EXACT -> attn4j.exact_attn(params, workspace, stream);
    };
  }

  private String describe(NativeKernel kernel) {
    return switch (kernel) {
      case SAGE -> describe(attn4j.sageattn_kernel(params));
      case SAGE_QK_INT8_PV_FP16 -> "kernel sageattn_qk_int8_pv_fp16_cuda";
      case SAGE_QK_INT8_PV_FP8_SM90 -> "kernel sageattn_qk_int8_pv_fp8_cuda_sm90";
      case SPAS_MEANSIM -> "kernel spas_sage2_attn_meansim_cuda";
      case SPAS_MEANSIM_TOPK -> "kernel spas_sage2_attn_meansim_topk_cuda";
      case BLOCK_SPARSE -> "kernel block_sparse_sage2_attn_cuda";
      case EXACT -> "kernel exact_attn";
    };
  }

  /** Names are literals of the library: the same address is the same name. */
  private String describe(BytePointer name) {
    long at = name == null ? 0 : name.address();
    if (at != kernelNameAddress) {
      kernelName = string(name);
      kernelNameAddress = at;
    }
    return "kernel " + kernelName;
  }

  /** A call asks whether it is served, then runs: the second time everything is in place. */
  private static boolean sameParameters(AttentionRequest a, AttentionRequest b) {
    return a.q() == b.q()
        && a.k() == b.k()
        && a.v() == b.v()
        && a.o() == b.o()
        && a.lse() == b.lse()
        && a.kvLengths() == b.kvLengths()
        && a.options() == b.options()
        && a.sparsityTensors() == b.sparsityTensors();
  }

  private void fill(AttentionRequest request) {
    if (filled != null && sameParameters(filled, request)) {
      return;
    }
    filled = null; // an address may be refused halfway
    fill(q, request.q());
    fill(k, request.k());
    fill(v, request.v());
    fill(o, request.o());
    params.lse(pointer(request.lse()));
    params.kv_lengths(pointer(request.kvLengths()));
    AttentionOptions options = request.options();
    params.tensor_layout(LAYOUTS[options.layout() == TensorLayout.HND ? 0 : 1]);
    CausalMask mask = options.causalMask();
    params.is_causal(mask != CausalMask.NONE);
    params.causal_alignment(
        mask == CausalMask.BOTTOM_RIGHT
            ? attn4j.CausalAlignment.kBottomRight
            : attn4j.CausalAlignment.kTopLeft);
    params.has_sm_scale(options.hasSmScale());
    params.sm_scale(options.hasSmScale() ? options.smScale() : 0f);
    params.qk_quant_gran(GRANULARITIES[options.quantGranularity().ordinal()]);
    params.pv_accum_dtype(ACCUMULATORS[options.pvAccumulator().ordinal()]);
    params.smooth_k(options.smoothK());
    fill(options.sparsity(), request.sparsityTensors());
    filled = request;
  }

  private void fill(SparsityOptions options, SparsityTensors tensors) {
    sparsity.simthreshd1(options.simthreshd1());
    sparsity.simthreshd1_per_head(pointer(tensors.simthreshd1()));
    sparsity.cdfthreshd(options.cdfthreshd());
    sparsity.cdfthreshd_per_head(pointer(tensors.cdfthreshd()));
    sparsity.topk(options.topk());
    sparsity.topk_per_head(pointer(tensors.topk()));
    sparsity.pvthreshd(options.pvthreshd());
    sparsity.pvthreshd_per_head(pointer(tensors.pvthreshd()));
    sparsity.attention_sink(options.attentionSink());
    sparsity.block_mask(pointer(tensors.blockMask()));
    sparsity.block_map(pointer(tensors.blockMap()));
    sparsity.sparsity(pointer(tensors.sparsity()));
  }

  private void fill(TensorView view, AttentionTensor tensor) {
    view.data(pointer(tensor));
    view.dtype(DTYPES[tensor.dtype() == DType.FLOAT16 ? 0 : 1]);
    for (int i = 0; i < 4; i++) {
      view.size(i, tensor.size(i));
      view.stride(i, tensor.stride(i));
    }
  }

  private Pointer pointer(AttentionTensor tensor) {
    return tensor == null ? null : address.at(((DeviceTensor) tensor).address());
  }

  private static String lastError() {
    String message = string(attn4j.last_error());
    return message.isEmpty() ? "the native library gave no reason" : message;
  }

  private static String string(BytePointer text) {
    return text == null || text.isNull() ? "" : text.getString();
  }
}
