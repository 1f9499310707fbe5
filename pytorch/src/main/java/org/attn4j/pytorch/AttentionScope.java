package org.attn4j.pytorch;

import org.attn4j.AttentionOptions;

/**
 * Options for the calls of one thread until {@link #close}; {@link Attn4j#use} opens one. Scopes
 * nest; the innermost counts.
 */
public final class AttentionScope implements AutoCloseable {
  private static final ThreadLocal<AttentionScope> INNERMOST = new ThreadLocal<>();

  private final AttentionOptions options;
  private final AttentionScope outer;

  private AttentionScope(AttentionOptions options, AttentionScope outer) {
    this.options = options;
    this.outer = outer;
  }

  static AttentionScope open(AttentionOptions options) {
    AttentionScope scope = new AttentionScope(options, INNERMOST.get());
    INNERMOST.set(scope);
    return scope;
  }

  /** The options of this thread's innermost scope, or null. */
  static AttentionOptions current() {
    AttentionScope scope = INNERMOST.get();
    return scope == null ? null : scope.options;
  }

  /** The options that this scope gives to calls that don't choose. */
  public AttentionOptions options() {
    return options;
  }

  /**
   * Back to what counted before.
   *
   * @throws IllegalStateException on another thread, or while an inner scope is open
   */
  @Override
  public void close() {
    if (INNERMOST.get() != this) {
      throw new IllegalStateException(
          "the scope is not the innermost of this thread; close scopes in reverse order, each once,"
              + " on the thread that opened them");
    }
    if (outer == null) {
      INNERMOST.remove();
    } else {
      INNERMOST.set(outer);
    }
  }
}
