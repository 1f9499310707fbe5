/**
 * A drop-in for {@code torch.scaled_dot_product_attention} on bytedeco's tensors.
 *
 * <p>{@link org.attn4j.pytorch.Attn4j} has the functions. What the kernels of attn4j don't serve
 * exactly as it was asked goes on to PyTorch's own function. {@link
 * org.attn4j.pytorch.TorchSparsity} passes thresholds, masks and reports of SpargeAttn as PyTorch
 * tensors, {@link org.attn4j.pytorch.Thresholds} says at which sizes to start further down the
 * chain.
 */
package org.attn4j.pytorch;
