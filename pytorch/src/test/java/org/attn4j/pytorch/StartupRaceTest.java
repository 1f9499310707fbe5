package org.attn4j.pytorch;

import static org.testng.Assert.assertEquals;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import org.attn4j.Attention;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.javacpp.Loader;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * As {@code org.attn4j.runtime.StartupRaceTest}, with PyTorch among the libraries whose first calls
 * meet. {@code -Dattn4j.startup.runs=300} asks for the long form.
 */
public class StartupRaceTest {
  private static final int RUNS = Integer.getInteger("attn4j.startup.runs", 1);
  private static final long DEADLOCK_SECONDS = 90;

  @DataProvider
  public Object[][] races() {
    return new Object[][] {
      {"free backends pointer"},
      {"held backends pointer"},
      {"free backends torch"},
      {"held backends torch"},
      {"held torch backends"},
      {"held dropin backends torch"},
      {"free dropin dropin backends"},
    };
  }

  @Test(dataProvider = "races")
  public void noOrderOfFirstCallsHangs(String race) throws IOException, InterruptedException {
    Path output = Files.createTempFile("startup-race", ".txt");
    try {
      for (int run = 0; run < RUNS; run++) {
        Process process =
            new ProcessBuilder(command(race))
                .redirectErrorStream(true)
                .redirectOutput(output.toFile())
                .start();
        if (!process.waitFor(2 * DEADLOCK_SECONDS, TimeUnit.SECONDS)) {
          process.destroyForcibly();
        }
        String text = Files.readString(output);
        assertEquals(process.waitFor(), 0, race + ", run " + run + ":\n" + text);
        assertEquals(text.split(" done").length, race.split(" ").length, text);
      }
    } finally {
      Files.deleteIfExists(output);
    }
  }

  private static List<String> command(String race) {
    List<String> command = new ArrayList<>();
    command.add(System.getProperty("java.home") + File.separator + "bin" + File.separator + "java");
    command.add("-XX:TieredStopAtLevel=1");
    command.add("-Dorg.bytedeco.javacpp.maxPhysicalBytes=0");
    command.add("-cp");
    command.add(
        System.getProperty("surefire.test.class.path", System.getProperty("java.class.path")));
    command.add(StartupRaceTest.class.getName());
    command.addAll(List.of(race.split(" ")));
    return command;
  }

  /** The child process: exits with 0 if all first calls end, with 3 and their stacks if not. */
  public static void main(String[] args) throws InterruptedException {
    CountDownLatch start = new CountDownLatch(1);
    List<Thread> threads = new ArrayList<>();
    for (String call : List.of(args).subList(1, args.length)) {
      Thread thread = new Thread(() -> call(call, start), call);
      thread.setDaemon(true);
      thread.start();
      threads.add(thread);
    }
    if (args[0].equals("held")) {
      synchronized (Loader.class) { // until all that load wait for it
        start.countDown();
        Thread.sleep(2000);
      }
    } else {
      start.countDown();
    }
    long end = System.nanoTime() + DEADLOCK_SECONDS * 1_000_000_000;
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

  private static void call(String call, CountDownLatch start) {
    try {
      start.await();
      switch (call) {
        case "backends" -> Attention.backends();
        case "pointer" -> new FloatPointer(4).close();
        case "torch" -> torch.randn(2, 3).close();
        case "dropin" -> {
          Tensor q = torch.randn(1, 2, 3, 4);
          Attn4j.scaled_dot_product_attention(q, q, q).close();
        }
        default -> throw new IllegalArgumentException(call);
      }
      System.out.println(call + " done");
    } catch (InterruptedException | RuntimeException | LinkageError e) {
      System.out.println(call + " failed: " + e);
    }
  }
}
