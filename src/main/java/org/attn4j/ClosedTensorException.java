package org.attn4j;

/** A tensor, a stream or device memory was used after its {@code close()}. */
public final class ClosedTensorException extends IllegalStateException
    implements AttentionException {
  private static final long serialVersionUID = 1L;

  /**
   * Creates the exception with its sentence.
   *
   * @param message one sentence that says what was found and what is accepted
   */
  public ClosedTensorException(String message) {
    super(message);
  }
}
