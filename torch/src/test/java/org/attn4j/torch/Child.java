package org.attn4j.torch;

import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.function.Predicate;
import java.util.stream.Collectors;
import org.testng.Assert;

/** A JVM of its own: for programs that know nothing of the hook, each with the libtorch it has. */
final class Child {
  private static final long TIMEOUT_SECONDS = 300;

  private final String main;
  private final List<String> options = new ArrayList<>();
  private final List<String> arguments = new ArrayList<>();
  private final Map<String, String> environment = new HashMap<>();
  private Predicate<String> classPath = entry -> true;

  private Child(String main) {
    this.main = main;
  }

  /** A program of DJL: nothing of bytedeco's PyTorch on its class path. */
  static Child ofDjl(Class<?> main) {
    Child child = new Child(main.getName());
    child.classPath = entry -> !entry.contains("bytedeco" + File.separator + "pytorch");
    child.environment.put("DJL_CACHE_DIR", Hooked.target().resolve("djl-cache").toString());
    child.environment.put("DJL_OFFLINE", "true");
    child.environment.put("OPT_OUT_TRACKING", "true");
    return child;
  }

  /** A program of bytedeco's PyTorch: nothing of DJL on its class path. */
  static Child ofBytedeco(Class<?> main) {
    Child child = new Child(main.getName());
    child.classPath = entry -> !entry.contains(File.separator + "djl" + File.separator);
    return child;
  }

  /** Leaves out what else the condition names. */
  Child without(Predicate<String> entries) {
    Predicate<String> before = classPath;
    classPath = entry -> before.test(entry) && !entries.test(entry);
    return this;
  }

  Child option(String option) {
    options.add(option);
    return this;
  }

  Child environment(String name, String value) {
    environment.put(name, value);
    return this;
  }

  Child argument(Path argument) {
    arguments.add(argument.toString());
    return this;
  }

  /** Hook over the stand-in library, on the CPU. */
  Child withStandIn() {
    return option("-D" + HookSettings.CPU_LIBRARY_PROPERTY + "=" + Hooked.standIn());
  }

  /** Runs it, and returns what it printed on either stream; it has to end with 0. */
  String run() throws IOException, InterruptedException {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.add("-Dorg.bytedeco.javacpp.maxPhysicalBytes=0");
    command.addAll(options);
    command.add("-cp");
    command.add(
        Arrays.stream(System.getProperty("java.class.path").split(File.pathSeparator))
            .filter(classPath)
            .collect(Collectors.joining(File.pathSeparator)));
    command.add(main);
    command.addAll(arguments);
    ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
    builder.environment().putAll(environment);
    File log = File.createTempFile("attn4j", ".log");
    Process process = builder.redirectOutput(log).start();
    boolean ended = process.waitFor(TIMEOUT_SECONDS, TimeUnit.SECONDS);
    if (!ended) {
      process.destroyForcibly();
    }
    String output = java.nio.file.Files.readString(log.toPath(), StandardCharsets.UTF_8);
    java.nio.file.Files.delete(log.toPath());
    Assert.assertTrue(ended, "no end within " + TIMEOUT_SECONDS + " s: " + output);
    Assert.assertEquals(process.exitValue(), 0, output);
    return output;
  }
}
