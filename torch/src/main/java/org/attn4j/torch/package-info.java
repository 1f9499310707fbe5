/**
 * The hook: attn4j serves {@code aten::scaled_dot_product_attention} inside the libtorch that the
 * process has loaded, so that TorchScript models and programs of DJL need no change.
 *
 * <p>{@link org.attn4j.torch.TorchHook#install} installs it, {@link
 * org.attn4j.torch.TorchHook#counts} says what it did.
 */
package org.attn4j.torch;
