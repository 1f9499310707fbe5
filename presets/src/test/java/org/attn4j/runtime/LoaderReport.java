package org.attn4j.runtime;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import org.attn4j.natives.global.attn4j;

/** The child process of {@link LoaderTest}: a process asks its driver and loads once. */
public final class LoaderReport {
  private LoaderReport() {}

  /** Prints what was chosen and loaded, one key=value per line. */
  public static void main(String[] args) throws IOException {
    Selection selection = NativeLibrary.selection();
    print("state", selection.state());
    print("message", selection.message());
    print("arch", selection.arch().map(Arch::name).orElse(""));
    Optional<String> failure = NativeLibrary.loadFailure();
    print("failure", failure.orElse(""));
    print("obstacle", NativeLibrary.gpuObstacle().orElse(""));
    print("summary", NativeLibrary.summary());
    for (DeviceChoice choice : selection.choices()) {
      print("device", choice.device());
      int ordinal = choice.device().ordinal();
      Optional<String> obstacle = NativeLibrary.gpuObstacle(ordinal);
      if (obstacle.isEmpty()) {
        NativeLibrary.use(ordinal);
      }
      // The name of the library that answers: the test's copies differ in it.
      print(
          "uses",
          obstacle.isPresent() ? "" : choice.arch().orElseThrow().name() + " " + answering());
      print("refusal", obstacle.orElse(""));
    }
    print("device 9", NativeLibrary.gpuObstacle(9).orElse(""));
    if (failure.isEmpty()) {
      NativeLibrary.useFirst();
      print("abi", attn4j.abi_version());
      print("devices", attn4j.device_count());
      print("reason", attn4j.last_error().getString());
    }
    for (String line : Files.readAllLines(Path.of("/proc/self/maps"))) {
      if (line.contains("libattn4j.so") && line.contains("r-xp")) {
        print("mapped", line.substring(line.indexOf('/')));
      }
    }
  }

  private static String answering() {
    return attn4j.arch_list().getString();
  }

  private static void print(String key, Object value) {
    System.out.println(key + "=" + value);
  }
}
