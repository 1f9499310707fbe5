package org.attn4j;

import java.io.PrintStream;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.stream.Collectors;
import org.attn4j.backend.Settings;
import org.attn4j.runtime.Arch;
import org.attn4j.runtime.DeviceChoice;
import org.attn4j.runtime.Driver;
import org.attn4j.runtime.NativeLibrary;
import org.attn4j.runtime.Selection;
import org.bytedeco.javacpp.Loader;

/**
 * Says what attn4j finds on this machine, what it makes of it and why. The exit status is 0 if a
 * GPU backend is ready, and 1 otherwise.
 */
public final class Doctor {
  private static final String CPU = "cpu";

  private final PrintStream out;
  private final Selection selection = NativeLibrary.selection();

  private Doctor(PrintStream out) {
    this.out = out;
  }

  /** Prints the report to stdout; takes no arguments. */
  public static void main(String[] args) {
    System.exit(examine(System.out) ? 0 : 1);
  }

  /** Prints the report and returns whether a GPU backend is ready. Never throws. */
  public static boolean examine(PrintStream out) {
    return new Doctor(out).examine();
  }

  private boolean examine() {
    line("system", Loader.getPlatform() + ", Java " + System.getProperty("java.version"));
    Optional<String> misspelt = Settings.fault();
    line("settings", misspelt.orElseGet(Settings::description));
    line("driver", driver(selection.driver()));
    for (DeviceChoice choice : selection.choices()) {
      line("device " + choice.device().ordinal(), device(choice));
    }
    line("found", found());
    line("choice", selection.state() + ": " + selection.message());
    line("library", library());
    boolean ready = misspelt.isEmpty() && backends();
    line("verdict", verdict(ready, misspelt.isPresent()));
    return ready;
  }

  private boolean backends() {
    boolean ready = false;
    for (BackendInfo backend : Attention.backends()) {
      line(backend.name(), (backend.ready() ? "ready: " : "not ready: ") + backend.reason());
      ready |= backend.ready() && !backend.name().equals(CPU);
    }
    return ready && NativeLibrary.gpuObstacle().isEmpty();
  }

  private static String verdict(boolean ready, boolean misspelt) {
    if (misspelt) {
      return "every call ends in an exception: mend the setting";
    }
    return ready ? "GPU attention is ready" : "no GPU backend is ready";
  }

  private void line(String name, String text) {
    out.printf("%-9s %s%n", name, text);
  }

  private static String driver(Driver driver) {
    return switch (driver.status()) {
      case 0 -> "serves CUDA " + driver.versionText();
      case Driver.NOT_FOUND -> "not found (libcuda.so.1)";
      case Driver.NOT_A_DRIVER -> "found a libcuda.so.1 that is no driver";
      case Driver.NOT_OPENED -> "found a libcuda.so.1 that can't be opened: " + driver.detail();
      case Driver.NOT_ASKED -> "could not be asked: " + driver.detail();
      default ->
          "serves CUDA %s, reports error %d".formatted(driver.versionText(), driver.status());
    };
  }

  private static String device(DeviceChoice choice) {
    String fit =
        switch (choice.fit()) {
          case EXACT -> ", code made for it";
          case SAME_MAJOR -> ", code made for an older device of its major version";
          case PTX -> ", code compiled from PTX at first use";
          case NONE -> "";
        };
    Optional<String> obstacle = NativeLibrary.gpuObstacle(choice.device().ordinal());
    String use =
        obstacle.isPresent()
            ? "not served: " + (choice.isServed() ? obstacle.get() : choice.message())
            : choice.arch().map(Arch::name).orElseThrow() + fit;
    return "%s, compute capability %s: %s"
        .formatted(choice.device().name(), choice.device().capability(), use);
  }

  private String found() {
    List<String> parts = new ArrayList<>();
    parts.add(
        selection.installed().isEmpty()
            ? "no native library on the class path"
            : selection.installed().stream().map(Doctor::arch).collect(Collectors.joining(", ")));
    parts.addAll(NativeLibrary.faults());
    return String.join("; ", parts);
  }

  private static String arch(Arch arch) {
    String ptx = arch.ptx().isEmpty() ? "" : " and PTX for " + String.join(" ", arch.ptx());
    return "%s (code for %s%s, CUDA %s)"
        .formatted(arch.name(), String.join(" ", arch.sass()), ptx, arch.cudaVersion());
  }

  private String library() {
    Optional<String> failure = NativeLibrary.loadFailure();
    return failure.isPresent()
        ? "not loaded: " + failure.get()
        : "loaded: " + String.join(", ", NativeLibrary.loaded());
  }
}
