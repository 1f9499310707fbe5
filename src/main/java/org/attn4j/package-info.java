/**
 * Scaled dot-product attention: exact, quantised (SageAttention) and sparse (SpargeAttn).
 *
 * <p>{@link org.attn4j.Attention#sdpa(AttentionRequest)} runs an {@link
 * org.attn4j.AttentionRequest}, made of tensors and {@link org.attn4j.AttentionOptions}. Tensors
 * lie in host memory ({@link org.attn4j.HostTensor}) or in that of a GPU ({@link
 * org.attn4j.DeviceTensor}). The first backend of a chain that supports a request exactly as it is
 * runs it; {@link org.attn4j.Attention#explain} says which and why.
 *
 * <p>{@link org.attn4j.SparsityOptions}, {@link org.attn4j.SparsityTensors}, {@link
 * org.attn4j.TokenOrder} and {@link org.attn4j.SparsityTuner} are for sparse attention, {@link
 * org.attn4j.CudaStream}, {@link org.attn4j.CudaGraph}, {@link org.attn4j.CudaEvent} and {@link
 * org.attn4j.DeviceMemory} for programs that drive a GPU themselves, {@link org.attn4j.Doctor} for
 * those who wonder what is going on.
 *
 * <p>Exceptions implement {@link org.attn4j.AttentionException}, are unchecked, and say in one
 * sentence what was found and what is accepted.
 */
package org.attn4j;
