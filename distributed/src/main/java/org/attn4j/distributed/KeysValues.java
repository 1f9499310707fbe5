package org.attn4j.distributed;

import org.bytedeco.pytorch.Tensor;

/**
 * Keys and values as views of sizes (rows, batch, heads, headDim).
 *
 * @param buffer what both lie in, (rows, batch, 2, heads, headDim), contiguous, ready to be sent;
 *     null: they lie in tensors of the caller's
 */
record KeysValues(Tensor k, Tensor v, Tensor buffer) {
  static KeysValues of(Tensor buffer) {
    return new KeysValues(buffer.select(2, 0), buffer.select(2, 1), buffer);
  }

  /** The first rows. */
  KeysValues rows(long count) {
    return new KeysValues(
        k.narrow(0, 0, count),
        v.narrow(0, 0, count),
        buffer == null ? null : buffer.narrow(0, 0, count));
  }

  /** Some of the heads. */
  KeysValues heads(long first, long count) {
    return new KeysValues(k.narrow(2, first, count), v.narrow(2, first, count), null);
  }
}
