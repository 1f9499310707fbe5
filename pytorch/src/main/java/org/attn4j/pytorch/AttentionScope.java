package org.attn4j.pytorch;

import org.attn4j.AttentionOptions;
import org.attn4j.torch.HookThread;

/**
 * Options for the calls of one thread until {@link #close}; {@link Attn4j#use} opens one. Scopes
 * nest; the innermost counts. With {@link Attn4j#install} they reach the attention inside of
 * TorchScript models too.
 */
public final class AttentionScope implements AutoCloseable {
  private static final ThreadLocal<AttentionScope> INNERMOST = new ThreadLocal<>();

  private final AttentionOptions options;
  private final AttentionScope outer;
  private final long entered; // what the hook wants back

  private AttentionScope(AttentionOptions options, AttentionScope outer, long entered) {
    this.options = options;
    this.outer = outer;
    this.entered = entered;
  }

  static AttentionScope open(AttentionOptions options) {
    long entered = HookThread.enter(options, Dispatch.settings().thresholds().forHook());
    AttentionScope scope = new AttentionScope(options, INNERMOST.get(), entered);
    INNERMOST.set(scope);
    return scope;
  }

  /** The options of this thread's innermost scope, or null. */
  static AttentionOptions current() {
    AttentionScope scope = INNERMOST.get();
    return scope == null ? null : scope.options;
  }

  /** {@return the options that this scope gives to calls that don't choose} */
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
    HookThread.leave(entered);
    if (outer == null) {
      INNERMOST.remove();
    } else {
      INNERMOST.set(outer);
    }
  }
}
