package org.attn4j.distributed;

import org.bytedeco.pytorch.Tensor;

/**
 * The outputs of attention with joint tokens.
 *
 * @param tokens of this rank's tokens, of the sizes of its q
 * @param joint of the joint tokens, the same on every rank
 */
public record JointOutput(Tensor tokens, Tensor joint) implements AutoCloseable {
  @Override
  public void close() {
    tokens.close();
    joint.close();
  }
}
