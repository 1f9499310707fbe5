package org.attn4j.distributed;

import org.attn4j.InvalidAttentionArgumentException;

/**
 * The sizes that the cost of attention over several ranks depends on; 16-bit tensors.
 *
 * @param tokens of the whole sequence
 * @param batch sequences
 * @param heads query heads
 * @param kvHeads key/value heads, a divisor of the first
 * @param headDim channels of a head
 * @param causal whether a token sees those before it and itself alone
 */
public record SequenceProblem(
    long tokens, int batch, int heads, int kvHeads, int headDim, boolean causal) {
  /**
   * Checks the sizes.
   *
   * @param tokens of the whole sequence
   * @param batch sequences
   * @param heads query heads
   * @param kvHeads key/value heads, a divisor of the first
   * @param headDim channels of a head
   * @param causal whether a token sees those before it and itself alone
   */
  public SequenceProblem {
    if (tokens < 1
        || batch < 1
        || headDim < 1
        || kvHeads < 1
        || heads < 1
        || heads % kvHeads != 0) {
      throw new InvalidAttentionArgumentException(
          "the problem has tokens "
              + tokens
              + ", batch "
              + batch
              + ", heads "
              + heads
              + ", kvHeads "
              + kvHeads
              + ", headDim "
              + headDim
              + "; 1 or more are accepted, and heads must be a multiple of kvHeads");
    }
  }

  /**
   * One sequence without a mask.
   *
   * @param tokens of the whole sequence
   * @param heads query heads
   * @param kvHeads key/value heads, a divisor of the first
   * @param headDim channels of a head
   * @return the problem
   */
  public static SequenceProblem of(long tokens, int heads, int kvHeads, int headDim) {
    return new SequenceProblem(tokens, 1, heads, kvHeads, headDim, false);
  }
}
