package org.attn4j;

/**
 * An argument that no backend could accept: a null, a wrong rank, shapes that disagree, mixed data
 * types, a bad stride. The message names the argument, the value found and what is accepted.
 */
public non-sealed class InvalidAttentionArgumentException extends IllegalArgumentException
    implements AttentionException {
  private static final long serialVersionUID = 1L;

  /**
   * Creates the exception with its sentence.
   *
   * @param message one sentence that says what was found and what is accepted
   */
  public InvalidAttentionArgumentException(String message) {
    super(message);
  }
}
