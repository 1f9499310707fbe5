package org.attn4j.cli;

import java.io.PrintWriter;

/** What is being done, on stderr: in place on a terminal, else a line for each step. */
final class Progress {
  private final PrintWriter err;
  private final boolean quiet;
  private final boolean terminal;
  private int width;

  Progress(PrintWriter err, boolean quiet) {
    this.err = err;
    this.quiet = quiet;
    this.terminal = System.console() != null && System.getenv("TERM") != null;
  }

  /** Says what is done now; the next step overwrites it on a terminal. */
  void step(String what) {
    if (quiet || !terminal) {
      return;
    }
    err.print("\r" + what + " ".repeat(Math.max(0, width - what.length())));
    err.flush();
    width = what.length();
  }

  /** Says what stays. */
  void line(String what) {
    if (quiet) {
      return;
    }
    if (terminal && width > 0) {
      err.print("\r" + " ".repeat(width) + "\r");
      width = 0;
    }
    err.println(what);
    err.flush();
  }

  /** Takes the last step off the terminal. */
  void done() {
    if (terminal && width > 0 && !quiet) {
      err.print("\r" + " ".repeat(width) + "\r");
      err.flush();
      width = 0;
    }
  }
}
