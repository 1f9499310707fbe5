package org.attn4j.pytorch;

/**
 * The sizes of a call after PyTorch's broadcasting.
 *
 * @param batch batch entries
 * @param heads query heads
 * @param headsKv key/value heads; heads is a multiple
 * @param queries queries per head
 * @param keys keys per head
 * @param headDim channels per head
 */
record Sizes(long batch, long heads, long headsKv, long queries, long keys, long headDim) {}
