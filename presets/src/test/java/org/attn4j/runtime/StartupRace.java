package org.attn4j.runtime;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import org.bytedeco.javacpp.Loader;

/**
 * The child process of the tests of starting up: threads that each make a program's first call, at
 * the same time. The arguments are how they are lined up ({@code free}, {@code held}) and what each
 * of them does.
 *
 * <p>{@code free} lets them run, which is what happens to a user. {@code held} keeps JavaCPP's
 * monitor until each thread that gets as far waits for it, so that what one of them holds by then
 * it holds for certain.
 */
public final class StartupRace {
  private static final long LINE_UP_MILLIS = 500;
  private static final long DEADLOCK_MILLIS = 60_000;

  private StartupRace() {}

  /** Exits with 0 if all threads end, with 3 and their stacks if not. */
  public static void main(String[] args) throws InterruptedException {
    CountDownLatch start = new CountDownLatch(1);
    List<Thread> threads = new ArrayList<>();
    for (String call : List.of(args).subList(1, args.length)) {
      threads.add(thread(call, start));
    }
    if (args[0].equals("held")) {
      synchronized (Loader.class) {
        start.countDown();
        Thread.sleep(LINE_UP_MILLIS);
      }
    } else {
      start.countDown();
    }
    long end = System.nanoTime() + DEADLOCK_MILLIS * 1_000_000;
    for (Thread thread : threads) {
      thread.join(Math.max(1, (end - System.nanoTime()) / 1_000_000));
    }
    List<Thread> stuck = threads.stream().filter(Thread::isAlive).toList();
    for (Thread thread : stuck) {
      System.out.println(thread.getName() + " waits at");
      List.of(thread.getStackTrace()).forEach(frame -> System.out.println("  " + frame));
    }
    Runtime.getRuntime().halt(stuck.isEmpty() ? 0 : 3); // exit() would wait for what hangs
  }

  private static Thread thread(String call, CountDownLatch start) {
    Thread thread =
        new Thread(
            () -> {
              try {
                start.await();
                run(call);
                System.out.println(call + " done");
              } catch (Exception | LinkageError e) {
                System.out.println(call + " failed: " + e);
              }
            },
            call);
    thread.setDaemon(true);
    thread.start();
    return thread;
  }

  private static void run(String call) throws Exception {
    switch (call) {
      case "attn4j" -> NativeLibrary.gpuObstacle();
      case "pointer" -> new org.bytedeco.javacpp.FloatPointer(4).close();
      case "loader" -> Loader.load(org.bytedeco.javacpp.presets.javacpp.class);
      default -> Class.forName(call); // a class whose initialiser is the first call
    }
  }
}
