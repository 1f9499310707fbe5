package org.attn4j.pytorch;

import org.attn4j.AttentionOptions;
import org.attn4j.CausalMask;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;

/**
 * The arguments of one call.
 *
 * @param query queries
 * @param key keys
 * @param value values
 * @param mask PyTorch's attn_mask, or null
 * @param dropout PyTorch's dropout_p
 * @param scale PyTorch's scale as it was given, or null: that of the options
 * @param groupedHeads PyTorch's enable_gqa
 * @param options the causal mask, the scale, and which backends to ask; their layout isn't read
 * @param packing what the dimensions of the tensors are
 * @param heads heads per tensor in PACKED_HEADS, else 0
 * @param sparsity tensors for SpargeAttn, or null
 */
record SdpaCall(
    Tensor query,
    Tensor key,
    Tensor value,
    TensorOptional mask,
    double dropout,
    DoubleOptional scale,
    boolean groupedHeads,
    AttentionOptions options,
    Packing packing,
    int heads,
    TorchSparsity sparsity) {

  /** A call with PyTorch's arguments. */
  SdpaCall(
      Tensor query,
      Tensor key,
      Tensor value,
      TensorOptional mask,
      double dropout,
      DoubleOptional scale,
      boolean groupedHeads,
      AttentionOptions options,
      Packing packing,
      int heads) {
    this(query, key, value, mask, dropout, scale, groupedHeads, options, packing, heads, null);
  }

  boolean hasMask() {
    return mask != null && mask.has_value();
  }

  boolean isCausal() {
    return options.causalMask() != CausalMask.NONE;
  }

  /** Whether the call has a block mask or asks for a report of blocks. */
  boolean needsSparge() {
    return sparsity != null && sparsity.needsSparge();
  }

  SdpaCall withOptions(AttentionOptions other) {
    return new SdpaCall(
        query, key, value, mask, dropout, scale, groupedHeads, other, packing, heads, sparsity);
  }

  SdpaCall withPacking(Packing other) {
    return new SdpaCall(
        query, key, value, mask, dropout, scale, groupedHeads, options, other, heads, sparsity);
  }

  SdpaCall withMask(TensorOptional other) {
    return new SdpaCall(
        query, key, value, other, dropout, scale, groupedHeads, options, packing, heads, sparsity);
  }

  SdpaCall withSparsity(TorchSparsity other) {
    return new SdpaCall(
        query, key, value, mask, dropout, scale, groupedHeads, options, packing, heads, other);
  }
}
