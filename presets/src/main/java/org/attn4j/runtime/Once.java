package org.attn4j.runtime;

import java.util.function.Supplier;

/**
 * A value that is found at the first call, under a lock of its own, and kept. What throws is asked
 * again: unlike in a static initialiser, no exception is wrapped, and none gets lost.
 */
final class Once<T> {
  private final Supplier<T> supplier;
  private volatile T value;

  Once(Supplier<T> supplier) {
    this.supplier = supplier;
  }

  T get() {
    T known = value;
    return known != null ? known : find();
  }

  private synchronized T find() {
    if (value == null) {
      value = supplier.get();
    }
    return value;
  }
}
