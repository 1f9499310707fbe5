package org.attn4j;

/** The scratch memory that the caller gave is smaller than {@link Attention#workspaceSize} says. */
public final class WorkspaceTooSmallException extends InvalidAttentionArgumentException {
  private static final long serialVersionUID = 1L;

  /**
   * Creates the exception with its sentence.
   *
   * @param message one sentence that says what was found and what is accepted
   */
  public WorkspaceTooSmallException(String message) {
    super(message);
  }
}
