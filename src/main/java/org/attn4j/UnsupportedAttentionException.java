package org.attn4j;

import java.util.List;

/**
 * A valid request that no backend in question serves. {@link #verdicts()} has each backend's own
 * reason; the message joins them.
 */
public final class UnsupportedAttentionException extends UnsupportedOperationException
    implements AttentionException {
  private static final long serialVersionUID = 1L;

  private final transient List<BackendVerdict> verdicts;

  /**
   * Creates the exception from its sentence and the verdicts behind it.
   *
   * @param message one sentence that says what was found and what is accepted
   * @param verdicts what each backend answered, in the order of the chain
   */
  public UnsupportedAttentionException(String message, List<BackendVerdict> verdicts) {
    super(message);
    this.verdicts = List.copyOf(verdicts);
  }

  /**
   * {@return what each backend answered, in the order of the chain} Empty after deserialisation.
   */
  public List<BackendVerdict> verdicts() {
    return verdicts == null ? List.of() : verdicts;
  }
}
