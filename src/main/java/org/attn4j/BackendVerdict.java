package org.attn4j;

import java.util.Objects;

/**
 * What one backend of the chain answers to one request.
 *
 * @param backend which backend
 * @param outcome whether it would serve the request
 * @param reason one sentence: the kernel that would run, or why the backend doesn't serve
 * @see Attention#explain
 */
public record BackendVerdict(SdpaBackend backend, Outcome outcome, String reason) {

  /** The three answers of a backend. */
  public enum Outcome {
    /** The backend can serve the request. The first such backend of the chain does. */
    SERVES,
    /** The backend was asked and can't serve the request. */
    REFUSES,
    /** The options or a system setting keep the backend from being asked. */
    NOT_ASKED
  }

  /**
   * Checks that nothing is null.
   *
   * @param backend the backend
   * @param outcome the outcome
   * @param reason one sentence
   */
  public BackendVerdict {
    Objects.requireNonNull(backend, "backend");
    Objects.requireNonNull(outcome, "outcome");
    Objects.requireNonNull(reason, "reason");
  }

  /** For example {@code sage REFUSES: head_dim is 160; ...}. */
  @Override
  public String toString() {
    return backend.id() + " " + outcome + ": " + reason;
  }
}
