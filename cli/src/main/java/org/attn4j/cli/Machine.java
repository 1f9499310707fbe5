package org.attn4j.cli;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import org.attn4j.cli.Attn4jCommand.FailedException;
import org.attn4j.cli.Attn4jCommand.UsageException;
import org.attn4j.runtime.DeviceChoice;
import org.attn4j.runtime.NativeLibrary;

/** What the commands run on: a GPU that is served, or the CPU. */
final class Machine {
  private Machine() {}

  /** Why this GPU can't be used; empty if it can. */
  static Optional<String> obstacle(int device) {
    Optional<String> all = NativeLibrary.gpuObstacle();
    return all.isPresent() ? all : NativeLibrary.gpuObstacle(device);
  }

  /** Whether a command runs on the GPU: as asked, else if there is one. */
  static boolean usesGpu(Boolean asked, int device) {
    if (device < 0) {
      throw new UsageException("--device is " + device + "; a number from 0 up is accepted");
    }
    Optional<String> obstacle = obstacle(device);
    if (Boolean.TRUE.equals(asked) && obstacle.isPresent()) {
      throw new FailedException("no GPU backend is ready: " + obstacle.get());
    }
    return !Boolean.FALSE.equals(asked) && obstacle.isEmpty();
  }

  /** The name of a GPU. */
  static String gpuName(int device) {
    return NativeLibrary.selection()
        .choice(device)
        .map(DeviceChoice::device)
        .map(found -> found.name() + ", compute capability " + found.capability())
        .orElse("GPU " + device);
  }

  /** The processor's name where the system tells it, and how many of its cores the JVM has. */
  static String cpuName() {
    String name = System.getProperty("os.arch");
    try (var lines = Files.lines(Path.of("/proc/cpuinfo"))) {
      name =
          lines
              .filter(line -> line.startsWith("model name"))
              .map(line -> line.substring(line.indexOf(':') + 1).strip())
              .findFirst()
              .orElse(name);
    } catch (IOException e) {
      // the architecture it is
    }
    return name + ", " + Runtime.getRuntime().availableProcessors() + " cores";
  }
}
