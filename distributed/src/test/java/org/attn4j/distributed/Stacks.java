package org.attn4j.distributed;

import java.util.Map;

/** Where a rank stands that is about to be killed because it took too long. */
final class Stacks {
  private static final int EARLIER = 3; // seconds

  private Stacks() {}

  /** Prints all threads' stacks to the standard error some seconds before these are over. */
  static void printBefore(String seconds) {
    if (seconds == null) {
      return;
    }
    long millis = 1000L * Math.max(1, Integer.parseInt(seconds) - EARLIER);
    Thread printer = new Thread(() -> printAfter(millis), "stacks");
    printer.setDaemon(true);
    printer.start();
  }

  private static void printAfter(long millis) {
    try {
      Thread.sleep(millis);
    } catch (InterruptedException e) {
      return;
    }
    for (Map.Entry<Thread, StackTraceElement[]> entry : Thread.getAllStackTraces().entrySet()) {
      System.err.println("stack of " + entry.getKey().getName());
      for (StackTraceElement frame : entry.getValue()) {
        System.err.println("    " + frame);
      }
    }
    System.err.flush();
  }
}
