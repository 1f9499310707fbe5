package org.attn4j.cli.bench;

/** Something that computes one shape's attention. Closing frees its tensors. */
public interface Server extends AutoCloseable {
  /** The name in tables and plots. */
  String name();

  /** Starts a call. The number lets it take other inputs each time. */
  void start(int call);

  /** Waits until all calls are done. */
  void await();

  @Override
  void close();
}
