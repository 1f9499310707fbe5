package org.attn4j.runtime;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.testng.SkipException;

/** What the native build left behind, and child processes. */
final class Build {
  static final Path ROOT =
      Path.of(System.getProperty("attn4j.root", "..")).toAbsolutePath().normalize();
  static final Path OUTPUT =
      Path.of(System.getProperty("attn4j.output", "target")).toAbsolutePath().normalize();

  /** How a child process ended. */
  record Outcome(int status, String output) {
    /** The values that the process printed under a key. */
    List<String> values(String key) {
      return output
          .lines()
          .filter(line -> line.startsWith(key + "="))
          .map(line -> line.substring(key.length() + 1))
          .toList();
    }

    String value(String key) {
      List<String> values = values(key);
      if (values.size() != 1) {
        throw new AssertionError("one value of " + key + " expected in:\n" + output);
      }
      return values.get(0);
    }
  }

  private Build() {}

  /**
   * The folder of a built architecture that holds libattn4j.so. Skips the test if there is none.
   */
  static Path anyClassifier() {
    return classifiers().stream()
        .findFirst()
        .orElseThrow(() -> new SkipException("no native library was built on this machine"));
  }

  /** The folders of all built architectures. */
  static List<Path> classifiers() {
    Path natives = OUTPUT.resolve("natives");
    if (!Files.isDirectory(natives)) {
      return List.of();
    }
    try (Stream<Path> files = Files.walk(natives, 6)) {
      return files
          .filter(file -> !file.startsWith(natives.resolve("link")))
          .filter(file -> file.endsWith("libattn4j.so"))
          .map(Path::getParent)
          .sorted()
          .toList();
    } catch (IOException e) {
      throw new java.io.UncheckedIOException(e);
    }
  }

  /** The bindings' JNI library. Skips the test if nothing was built. */
  static Path bindings() {
    anyClassifier();
    return OUTPUT.resolve("natives/base/org/attn4j/natives/linux-x86_64/libjniattn4j.so");
  }

  /** Runs a command to its end; stdout and stderr come together. */
  static Outcome run(List<String> command, Map<String, String> environment) {
    ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
    builder.environment().putAll(environment);
    try {
      Process process = builder.start();
      process.getOutputStream().close();
      String output = new String(process.getInputStream().readAllBytes());
      return new Outcome(process.waitFor(), output);
    } catch (IOException e) {
      throw new java.io.UncheckedIOException(e);
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  /** Removes a folder and all that is in it; null is no folder. */
  static void delete(Path folder) {
    if (folder == null) {
      return;
    }
    try (Stream<Path> files = Files.walk(folder)) {
      files.map(Path::toFile).sorted(Comparator.reverseOrder()).forEach(File::delete);
    } catch (IOException e) {
      throw new java.io.UncheckedIOException(e);
    }
  }

  /** The program of this JVM's own installation. */
  static String java() {
    return Path.of(System.getProperty("java.home"), "bin", "java").toString();
  }
}
