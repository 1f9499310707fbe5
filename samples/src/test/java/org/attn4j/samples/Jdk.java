package org.attn4j.samples;

import java.io.File;
import java.io.IOException;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.spi.ToolProvider;
import java.util.stream.Collectors;

/** The tools of this JDK, for tests that build and run a user's program. */
final class Jdk {
  private Jdk() {}

  /** The class path of the tests, which is that of a program that depends on attn4j-platform. */
  static String classPath() {
    return System.getProperty("java.class.path");
  }

  /** The JARs on it whose names start with one of these. */
  static String jars(String... names) {
    return Arrays.stream(classPath().split(File.pathSeparator))
        .filter(entry -> entry.endsWith(".jar"))
        .filter(
            entry -> {
              String file = Path.of(entry).getFileName().toString();
              return Arrays.stream(names).anyMatch(file::startsWith);
            })
        .collect(Collectors.joining(File.pathSeparator));
  }

  /** Runs javac, jlink, ... in this process. */
  static void tool(String name, String... arguments) {
    StringWriter text = new StringWriter();
    PrintWriter out = new PrintWriter(text);
    int status = ToolProvider.findFirst(name).orElseThrow().run(out, out, arguments);
    if (status != 0 || text.toString().contains("warning:")) {
      throw new AssertionError(name + " ended with " + status + ":\n" + text);
    }
  }

  /** How a process ended, and what it wrote to both of its streams. */
  record Outcome(int status, String output) {}

  static Outcome java(Path home, List<String> arguments) throws IOException, InterruptedException {
    List<String> command = new ArrayList<>(arguments);
    command.add(0, home.resolve("bin/java").toString());
    Path output = Files.createTempFile("attn4j-java", ".txt");
    Process process =
        new ProcessBuilder(command)
            .redirectErrorStream(true)
            .redirectOutput(output.toFile())
            .start();
    int status = process.waitFor();
    String text = Files.readString(output);
    Files.delete(output);
    return new Outcome(status, text);
  }

  static Path home() {
    return Path.of(System.getProperty("java.home"));
  }
}
