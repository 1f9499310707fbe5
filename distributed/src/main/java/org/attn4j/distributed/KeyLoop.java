package org.attn4j.distributed;

import org.bytedeco.pytorch.Tensor;

/** Attention of a rank's queries to the keys of all positions. */
interface KeyLoop {
  /**
   * Collective among the positions' ranks.
   *
   * @param q (rows, batch, this rank's heads, headDim): its position's tokens, then the joint ones
   * @param own the same tokens' keys and values
   * @param o written, of q's sizes
   */
  void attend(Tensor q, KeysValues own, Tensor o);
}
