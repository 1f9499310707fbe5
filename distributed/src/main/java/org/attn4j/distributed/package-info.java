/**
 * Attention of one long sequence over several processes and GPUs, through PyTorch's process groups.
 *
 * <p>{@link org.attn4j.distributed.World} connects the ranks that a launcher started, {@link
 * org.attn4j.distributed.SequenceMesh} arranges them, {@link org.attn4j.distributed.SequenceLayout}
 * says which tokens each has, and {@link org.attn4j.distributed.SequenceAttention} computes. When a
 * rank dies, hangs or was told something else than the others, all get a {@link
 * org.attn4j.distributed.RankException}.
 */
package org.attn4j.distributed;
