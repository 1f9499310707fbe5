package org.attn4j.platform;

import java.io.PrintStream;
import java.util.List;
import java.util.Optional;
import java.util.stream.Collectors;
import org.attn4j.Attention;
import org.attn4j.BackendInfo;
import org.attn4j.runtime.Arch;
import org.attn4j.runtime.Device;
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
    System.exit(new Doctor(System.out).examine() ? 0 : 1);
  }

  /** Prints the report and returns whether a GPU backend is ready. */
  private boolean examine() {
    line("system", Loader.getPlatform() + ", Java " + System.getProperty("java.version"));
    line("driver", driver(selection.driver()));
    for (Device device : selection.driver().devices()) {
      line("device " + device.ordinal(), device(device));
    }
    line("found", installed(selection.installed()));
    line("choice", selection.state() + ": " + selection.message());
    line("library", library());
    List<BackendInfo> backends = Attention.backends();
    for (BackendInfo backend : backends) {
      line(backend.name(), (backend.ready() ? "ready: " : "not ready: ") + backend.reason());
    }
    boolean ready =
        NativeLibrary.gpuObstacle().isEmpty()
            && backends.stream().anyMatch(info -> info.ready() && !info.name().equals(CPU));
    line("verdict", ready ? "GPU attention is ready" : "no GPU backend is ready");
    return ready;
  }

  private void line(String name, String text) {
    out.printf("%-9s %s%n", name, text);
  }

  private static String driver(Driver driver) {
    return switch (driver.status()) {
      case 0 -> "serves CUDA " + driver.versionText();
      case Driver.NOT_FOUND -> "not found (libcuda.so.1)";
      case Driver.NOT_A_DRIVER -> "found a libcuda.so.1 that is no driver";
      case Driver.NOT_ASKED -> "could not be asked: " + driver.detail();
      default ->
          "serves CUDA %s, reports error %d".formatted(driver.versionText(), driver.status());
    };
  }

  private String device(Device device) {
    String fit =
        switch (selection.fit(device.ordinal())) {
          case EXACT -> "code made for it";
          case SAME_MAJOR -> "code made for an older device of its major version";
          case PTX -> "code compiled from PTX at first use";
          case NONE -> "not served";
        };
    return "%s, compute capability %s: %s".formatted(device.name(), device.capability(), fit);
  }

  private static String installed(List<Arch> archs) {
    if (archs.isEmpty()) {
      return "no native JAR on the class path";
    }
    return archs.stream().map(Doctor::arch).collect(Collectors.joining(", "));
  }

  private static String arch(Arch arch) {
    String ptx = arch.ptx().isEmpty() ? "" : " and PTX for " + String.join(" ", arch.ptx());
    return "%s (code for %s%s, CUDA %s)"
        .formatted(arch.name(), String.join(" ", arch.sass()), ptx, arch.cudaVersion());
  }

  private String library() {
    Optional<String> failure = NativeLibrary.loadFailure();
    return failure
        .map(reason -> "not loaded: " + reason)
        .orElseGet(() -> "loaded: " + selection.arch().map(Arch::name).orElse("?"));
  }
}
