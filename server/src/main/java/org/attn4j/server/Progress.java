package org.attn4j.server;

/** How work tells what it has done, and learns that nobody waits for it any more. */
interface Progress {
  /**
   * A step that was done.
   *
   * @param name what it did
   * @param backend what computed it, such as {@code cpu}
   * @param number counts the steps of this name from 1
   * @param of how many steps of this name there are
   * @param millis what it took
   */
  record Step(String name, String backend, int number, int of, double millis) {}

  /** Reports a step, and then does as {@link #check()}. */
  void done(Step step);

  /** Throws a {@link Problem} if the request's time is up or its client has gone. */
  void check();
}
