package org.attn4j;

/**
 * A fresh output and its log-sum-exp. Closing it closes both.
 *
 * @param o the output, contiguous, of q's sizes and type
 * @param lse FLOAT32 (batch, headsQ, queries): ln(sum of exp(scores)), natural log
 */
public record AttentionResult(AttentionTensor o, AttentionTensor lse) implements AutoCloseable {
  @Override
  public void close() {
    o.close();
    lse.close();
  }
}
