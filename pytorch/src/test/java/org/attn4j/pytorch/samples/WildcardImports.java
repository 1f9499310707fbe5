package org.attn4j.pytorch.samples;

import org.attn4j.*;
import org.attn4j.pytorch.*;
import org.bytedeco.cuda.cudart.*;
import org.bytedeco.javacpp.*;
import org.bytedeco.pytorch.*;
import org.bytedeco.pytorch.cuda.*;
import org.bytedeco.pytorch.global.torch;

/**
 * Compiles as long as no name of ours is one of PyTorch's, CUDA's or JavaCPP's too: bytedeco's own
 * samples import in this way, and a name that two packages have is an error where it is used.
 */
final class WildcardImports {
  private WildcardImports() {}

  /** Every public type of org.attn4j and org.attn4j.pytorch. */
  static final Class<?>[] OURS = {
    Attention.class,
    AttentionDims.class,
    AttentionException.class,
    AttentionMask.class,
    AttentionOptions.class,
    AttentionRequest.class,
    AttentionResult.class,
    AttentionScope.class,
    AttentionState.class,
    AttentionTensor.class,
    Attn4j.class,
    BFloat16Bits.class,
    BackendInfo.class,
    BackendMode.class,
    BackendVerdict.class,
    BlockGrid.class,
    CausalMask.class,
    ClosedTensorException.class,
    CudaDevices.class,
    CudaEvent.class,
    CudaException.class,
    CudaGraph.class,
    CudaStream.class,
    DType.class,
    DeviceMemory.class,
    DeviceTensor.class,
    Doctor.class,
    Float16Bits.class,
    HostMemory.class,
    HostTensor.class,
    InvalidAttentionArgumentException.class,
    Memory.class,
    PackedSequences.class,
    PvAccumulator.class,
    QuantGranularity.class,
    SageKernel.class,
    SdpaBackend.class,
    SparsityOptions.class,
    SparsityProfile.class,
    SparsityProfiles.class,
    SparsityTensors.class,
    SparsityDecisions.class,
    SparsityRule.class,
    SparsityTuner.class,
    TensorLayout.class,
    TensorShape.class,
    Thresholds.class,
    TokenGrid.class,
    TokenOrder.class,
    TorchSparsity.class,
    UnsupportedAttentionException.class,
    WorkspaceTooSmallException.class,
  };

  /** Their names beside ours, as a program uses them. */
  static Tensor attend(Tensor query, Tensor key, Tensor value) {
    try (AttentionScope scope = Attn4j.use(SdpaBackend.AUTO);
        PointerScope temporaries = new PointerScope()) {
      Tensor ours = Attn4j.scaled_dot_product_attention(query, key, value);
      Tensor theirs = torch.scaled_dot_product_attention(query, key, value);
      return scope.options() == AttentionOptions.DEFAULTS && temporaries != null ? ours : theirs;
    }
  }
}
