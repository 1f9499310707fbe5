package org.attn4j.distributed;

import static org.testng.Assert.assertEquals;

import java.io.File;
import java.io.IOException;
import java.net.BindException;
import java.net.ServerSocket;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;

/** Ranks as processes of this machine, started as torchrun starts them. */
final class Processes implements AutoCloseable {
  /** How a process ended; {@code exit} is {@link #RUNNING} if it had to be stopped. */
  record Ended(int rank, int exit, String output) {
    /** The rest of the first line that starts with a word; null if there is none. */
    String line(String word) {
      return output
          .lines()
          .filter(line -> line.startsWith(word + " "))
          .findFirst()
          .map(line -> line.substring(word.length() + 1))
          .orElse(null);
    }
  }

  static final int RUNNING = -1;

  private final List<Process> processes = new ArrayList<>();
  private final List<Path> outputs = new ArrayList<>();

  /** Starts {@code size} ranks of a main class, on a free port. */
  static Processes start(int size, Class<?> main, String... arguments) throws IOException {
    return startWith(List.of(), size, main, arguments);
  }

  /** The same with options of the JVM. */
  static Processes startWith(List<String> options, int size, Class<?> main, String... arguments)
      throws IOException {
    int port = freePort();
    Processes started = new Processes();
    for (int rank = 0; rank < size; rank++) {
      started.add(options, main, environment(rank, size, port), arguments);
    }
    return started;
  }

  static Map<String, String> environment(int rank, int size, int port) {
    return Map.of(
        "RANK",
        "" + rank,
        "LOCAL_RANK",
        "" + rank,
        "WORLD_SIZE",
        "" + size,
        "LOCAL_WORLD_SIZE",
        "" + size,
        "MASTER_ADDR",
        "127.0.0.1",
        "MASTER_PORT",
        "" + port);
  }

  private void add(
      List<String> options, Class<?> main, Map<String, String> environment, String... arguments)
      throws IOException {
    Path output = Files.createTempFile("rank", ".txt");
    ProcessBuilder builder = new ProcessBuilder(command(options, main, arguments));
    builder.environment().put("OMP_NUM_THREADS", "1");
    builder.environment().putAll(environment);
    builder.redirectErrorStream(true).redirectOutput(output.toFile());
    outputs.add(output);
    processes.add(builder.start());
  }

  /**
   * A port that nobody listens on now, below those that the kernel gives to connections: Gloo opens
   * many.
   */
  static int freePort() throws IOException {
    for (int attempt = 0; attempt < 100; attempt++) {
      int port = ThreadLocalRandom.current().nextInt(15_000, 31_000);
      try (ServerSocket socket = new ServerSocket(port)) {
        return socket.getLocalPort();
      } catch (BindException e) {
        continue;
      }
    }
    throw new IOException("no free port was found");
  }

  /** This Java and class path; small heaps and a quick compiler, for many start at once. */
  private static List<String> command(List<String> options, Class<?> main, String... arguments) {
    List<String> command = new ArrayList<>();
    command.add(System.getProperty("java.home") + File.separator + "bin" + File.separator + "java");
    command.addAll(List.of("-Xms96m", "-Xmx96m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"));
    if (Runtime.version().feature() >= 24) {
      command.add("--enable-native-access=ALL-UNNAMED");
    }
    for (String name : System.getProperties().stringPropertyNames()) {
      if (name.startsWith("org.bytedeco.") || name.startsWith("org.attn4j.")) {
        command.add("-D" + name + "=" + System.getProperty(name));
      }
    }
    command.addAll(options);
    command.add("-cp");
    // Surefire's own class path is a JAR that names the real one.
    command.add(
        System.getProperty("surefire.test.class.path", System.getProperty("java.class.path")));
    command.add(main.getName());
    command.addAll(List.of(arguments));
    return command;
  }

  /** Waits until all have ended; stops those that haven't within the time. */
  List<Ended> await(int seconds) throws IOException, InterruptedException {
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
    List<Ended> ended = new ArrayList<>();
    for (int rank = 0; rank < processes.size(); rank++) {
      Process process = processes.get(rank);
      boolean done = process.waitFor(end - System.nanoTime(), TimeUnit.NANOSECONDS);
      int exit = done ? process.exitValue() : RUNNING;
      ended.add(new Ended(rank, exit, Files.readString(outputs.get(rank))));
    }
    close();
    return ended;
  }

  /** Waits until all but one have ended, and stops that one. */
  List<Ended> awaitAllBut(int one, int seconds) throws IOException, InterruptedException {
    long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
    for (int rank = 0; rank < processes.size(); rank++) {
      if (rank != one) {
        processes.get(rank).waitFor(end - System.nanoTime(), TimeUnit.NANOSECONDS);
      }
    }
    processes.get(one).destroyForcibly().waitFor();
    return await(1);
  }

  /** As {@link #await}, and all must have ended well. */
  List<Ended> awaitSuccess(int seconds) throws IOException, InterruptedException {
    List<Ended> all = await(seconds);
    for (Ended ended : all) {
      assertEquals(ended.exit(), 0, "rank " + ended.rank() + " of " + all.size() + ": " + all);
    }
    return all;
  }

  @Override
  public void close() throws IOException {
    for (Process process : processes) {
      process.destroyForcibly();
    }
    for (Path output : outputs) {
      Files.deleteIfExists(output);
    }
  }
}
