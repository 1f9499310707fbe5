package org.attn4j;

/**
 * The blocks of a sparse request. They depend on the architecture.
 *
 * @param queryBlock queries per block
 * @param keyBlock keys per block
 * @param queryBlocks blocks of queries per head; the last may be shorter
 * @param keyBlocks blocks of keys per head; the last may be shorter
 */
public record BlockGrid(long queryBlock, long keyBlock, long queryBlocks, long keyBlocks) {}
