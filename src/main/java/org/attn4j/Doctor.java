package org.attn4j;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
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
 * Says what attn4j finds on this machine, what it makes of it and why. On a GPU it runs kernels,
 * and compares their results with the CPU's. With {@code --json} it says so for programs. The exit
 * status is 0 if a GPU backend is ready, 1 if not, and 2 for an argument that it doesn't know.
 */
public final class Doctor {
  private static final String CPU = "cpu";
  private static final String USAGE =
      "accepted is nothing, or --json for one JSON object instead of lines";

  private final JsonObject report = new JsonObject();
  private final List<String> lines = new ArrayList<>();
  private final Selection selection = NativeLibrary.selection();

  private Doctor() {}

  /**
   * Prints the report to stdout; see the class for arguments and the exit status.
   *
   * @param args the command line
   */
  public static void main(String[] args) {
    System.exit(run(System.out, System.err, args));
  }

  /**
   * Does what {@link #main} does.
   *
   * @param out where the report goes
   * @param err where complaints go
   * @param args the command line
   * @return the exit status
   */
  public static int run(PrintStream out, PrintStream err, String... args) {
    boolean json = false;
    for (String arg : args) {
      if (arg.equals("--help")) {
        out.println("The doctor says what attn4j finds on this machine; " + USAGE);
        return 0;
      }
      if (!arg.equals("--json")) {
        err.println("the argument is " + arg + "; " + USAGE);
        return 2;
      }
      json = true;
    }
    return examine(out, json) ? 0 : 1;
  }

  /**
   * Prints the report and returns whether a GPU backend is ready. Never throws.
   *
   * @param out where the report goes
   * @return whether a GPU backend is ready
   */
  public static boolean examine(PrintStream out) {
    return examine(out, false);
  }

  private static boolean examine(PrintStream out, boolean json) {
    Doctor doctor = new Doctor();
    boolean ready = doctor.examine();
    if (json) {
      out.println(doctor.report);
    } else {
      doctor.lines.forEach(out::println);
    }
    return ready;
  }

  private boolean examine() {
    say("system", Loader.getPlatform() + ", Java " + System.getProperty("java.version"));
    Optional<String> misspelt = Settings.fault();
    say("settings", misspelt.orElseGet(Settings::description));
    say("driver", driver(selection.driver()));
    report.add("devices", new JsonArray());
    for (DeviceChoice choice : selection.choices()) {
      line("device " + choice.device().ordinal(), device(choice));
      report.getAsJsonArray("devices").add(json(choice));
    }
    say("found", found());
    line("choice", selection.state() + ": " + selection.message());
    report.addProperty("state", selection.state().name());
    report.addProperty("choice", selection.message());
    say("library", library());
    boolean ready = misspelt.isEmpty() && backends();
    Trials trials = ready ? trials() : Trials.RIGHT;
    boolean right = trials == Trials.RIGHT;
    report.addProperty("ready", ready && right);
    say("verdict", verdict(ready, trials, misspelt.isPresent()));
    return ready && right;
  }

  private boolean backends() {
    boolean ready = false;
    JsonArray all = new JsonArray();
    for (BackendInfo backend : Attention.backends()) {
      line(backend.name(), (backend.ready() ? "ready: " : "not ready: ") + backend.reason());
      ready |= backend.ready() && !backend.name().equals(CPU);
      JsonObject json = new JsonObject();
      json.addProperty("name", backend.name());
      json.addProperty("ready", backend.ready());
      json.addProperty("reason", backend.reason());
      all.add(json);
    }
    report.add("backends", all);
    return ready && NativeLibrary.gpuObstacle().isEmpty();
  }

  /** What came of all kernels that were tried. */
  private enum Trials {
    RIGHT,
    NOT_RUN,
    WRONG
  }

  /** Runs kernels on every device that is served. */
  private Trials trials() {
    KernelTrial trial = new KernelTrial();
    JsonArray all = new JsonArray();
    boolean right = true;
    boolean ran = true;
    for (DeviceChoice choice : selection.choices()) {
      int device = choice.device().ordinal();
      if (NativeLibrary.gpuObstacle(device).isPresent()) {
        continue;
      }
      for (KernelTrial.Outcome outcome : trial.run(device)) {
        line("trial " + device, outcome.toString());
        right &= outcome.passed() || !outcome.ran();
        ran &= outcome.ran();
        JsonObject json = new JsonObject();
        json.addProperty("device", device);
        json.addProperty("kernel", outcome.kernel());
        json.addProperty("right", outcome.passed());
        if (Double.isFinite(outcome.l1())) {
          json.addProperty("l1", outcome.l1());
        }
        json.addProperty("l1_allowed", outcome.allowed());
        json.addProperty("failure", outcome.failure());
        all.add(json);
      }
    }
    report.add("trials", all);
    return !right ? Trials.WRONG : ran ? Trials.RIGHT : Trials.NOT_RUN;
  }

  private static String verdict(boolean ready, Trials trials, boolean misspelt) {
    if (misspelt) {
      return "every call ends in an exception: mend the setting";
    }
    if (trials == Trials.NOT_RUN) {
      return "not all kernels could be run here: the trials above say why";
    }
    if (trials == Trials.WRONG) {
      return "kernels run here, and not all of them are right: don't use them, and report it";
    }
    return ready ? "GPU attention is ready" : "no GPU backend is ready";
  }

  private void say(String name, String text) {
    line(name, text);
    report.addProperty(name, text);
  }

  private void line(String name, String text) {
    lines.add("%-9s %s".formatted(name, text));
  }

  private static JsonObject json(DeviceChoice choice) {
    Optional<String> obstacle = NativeLibrary.gpuObstacle(choice.device().ordinal());
    JsonObject json = new JsonObject();
    json.addProperty("ordinal", choice.device().ordinal());
    json.addProperty("name", choice.device().name());
    json.addProperty("compute_capability", choice.device().capability().toString());
    json.addProperty("served", obstacle.isEmpty());
    json.addProperty("library", choice.arch().map(Arch::name).orElse(""));
    json.addProperty("fit", choice.fit().name());
    json.addProperty("message", device(choice));
    return json;
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
