package org.attn4j.runtime;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.stream.Stream;
import org.attn4j.runtime.Arch.Fit;
import org.bytedeco.javacpp.Loader;

/**
 * The native libraries of this process: one for each kind of GPU in it, side by side. Ask here
 * before touching any class of {@code org.attn4j.natives}: nothing here throws, and the answers
 * don't change while the process lives.
 *
 * <p>The system property {@code org.attn4j.arch} (such as {@code sm86}) names the library to load,
 * whatever the devices.
 */
public final class NativeLibrary {
  /** The system property that forces one architecture: {@code sm86}, or {@code 8.6}. */
  public static final String ARCH_PROPERTY = "org.attn4j.arch";

  private static final Logger LOGGER = System.getLogger("org.attn4j");
  private static final String BINDINGS = "org.attn4j.natives.global.attn4j";
  private static final int MAX_DEVICES = 64;

  // No static initialiser of this library waits for anything: JavaCPP's classes wait for each
  // other's initialisers, and one more in that circle closes it.
  private static final Once<Inventory> INVENTORY =
      new Once<>(() -> Inventory.ofClassPath(Loader.getPlatform()));
  private static final Once<Selection> SELECTION = new Once<>(NativeLibrary::select);
  private static final Once<Optional<String>> BINDINGS_FAILURE =
      new Once<>(NativeLibrary::loadBindings);
  private static final Map<String, Once<OpenLibrary>> LIBRARIES = new ConcurrentHashMap<>();

  // The number of each device's library, once it is open; -1 until then. Written once each.
  private static final AtomicIntegerArray NUMBERS = numbers();
  private static volatile boolean severalOpen;

  private NativeLibrary() {}

  /**
   * A library that is open, or why it is not.
   *
   * @param number what {@link Libraries} knows it by, or -1
   * @param file where it lies, or null
   * @param failure one sentence, or null
   */
  private record OpenLibrary(int number, Path file, String failure) {
    static OpenLibrary failed(String sentence) {
      return new OpenLibrary(-1, null, sentence);
    }
  }

  private static AtomicIntegerArray numbers() {
    int[] none = new int[MAX_DEVICES];
    Arrays.fill(none, -1);
    return new AtomicIntegerArray(none);
  }

  // ------------------------------------------------------------------------------------ questions

  /** Which library each device uses, and why. Asks the driver at the first call. */
  public static Selection selection() {
    return SELECTION.get();
  }

  /**
   * Loads the bindings, with the library that {@link Selection#arch} names, at the first call.
   * Empty if they can be used; otherwise one sentence that says why not. A library that loads needs
   * no GPU: ask {@link #gpuObstacle()} before running a kernel.
   */
  public static Optional<String> loadFailure() {
    Selection selection = selection();
    return selection.arch().isEmpty()
        ? Optional.of(selection.message())
        : Optional.ofNullable(open(selection.arch().get()).failure());
  }

  /** Empty if kernels can run on any GPU of the process; otherwise one sentence: why not. */
  public static Optional<String> gpuObstacle() {
    Selection selection = selection();
    if (!selection.isReady()) {
      return Optional.of(selection.message());
    }
    Optional<String> first = Optional.empty();
    for (DeviceChoice choice : selection.choices()) {
      Optional<String> obstacle = gpuObstacle(choice.device().ordinal());
      if (obstacle.isEmpty()) {
        return obstacle;
      }
      if (choice.isServed() && first.isEmpty()) {
        first = obstacle;
      }
    }
    return first;
  }

  /**
   * Empty if kernels can run on a GPU; otherwise one sentence that says why not. Loads the GPU's
   * library at the first call.
   *
   * @param device CUDA's number of the device
   */
  public static Optional<String> gpuObstacle(int device) {
    if (device >= 0 && device < MAX_DEVICES && NUMBERS.get(device) >= 0) {
      return Optional.empty();
    }
    Selection selection = selection();
    Optional<String> obstacle = selection.obstacle(device);
    if (obstacle.isPresent()) {
      return obstacle;
    }
    OpenLibrary library = open(selection.choice(device).orElseThrow().arch().orElseThrow());
    if (library.failure() == null && device < MAX_DEVICES) {
      NUMBERS.set(device, library.number());
    }
    return Optional.ofNullable(library.failure());
  }

  /** What is wrong with the native JARs on the class path, one sentence each. */
  public static List<String> faults() {
    return INVENTORY.get().faults();
  }

  /** The names of the libraries that are open by now. */
  public static List<String> loaded() {
    return LIBRARIES.keySet().stream()
        .filter(name -> LIBRARIES.get(name).get().failure() == null)
        .sorted()
        .toList();
  }

  /**
   * What serves the GPUs of this process, and which of them nothing serves. Loads what it names.
   */
  public static String summary() {
    StringBuilder text = new StringBuilder(selection().message());
    for (DeviceChoice choice : selection().choices()) {
      if (choice.isServed()) { // the others are in the message
        gpuObstacle(choice.device().ordinal())
            .ifPresent(reason -> text.append("; ").append(reason));
      }
    }
    return text.toString();
  }

  /**
   * The file of the library that serves a GPU; empty if {@link #gpuObstacle(int)} names a reason.
   */
  public static Optional<Path> file(int device) {
    return gpuObstacle(device).isPresent()
        ? Optional.empty()
        : selection().choice(device).flatMap(DeviceChoice::arch).map(arch -> open(arch).file());
  }

  /**
   * From now on this thread's calls of attention functions go to the library of a device. {@link
   * #gpuObstacle(int)} has said that there is one.
   */
  public static void use(int device) {
    if (severalOpen) {
      Libraries.use_library(NUMBERS.get(device));
    }
  }

  /**
   * From now on this thread's calls go to the library that was opened first. Memory, streams,
   * events and graphs are the same in all, and belong to the CUDA runtime of one.
   */
  public static void useFirst() {
    if (severalOpen) {
      Libraries.use_library(0);
    }
  }

  /**
   * Has another library serve a device from now on, for tests on a machine with one. Requests that
   * were planned before belong to the earlier library and must not run any more.
   *
   * @return why the library can't, or empty
   */
  static Optional<String> serveWith(int device, String archName) {
    Arch arch =
        selection().installed().stream()
            .filter(known -> known.name().equals(archName))
            .findFirst()
            .orElseThrow();
    OpenLibrary library = open(arch);
    if (library.failure() == null) {
      NUMBERS.set(device, library.number());
    }
    return Optional.ofNullable(library.failure());
  }

  // ------------------------------------------------------------------------------------- selecting

  private static Selection select() {
    String platform = Loader.getPlatform();
    Inventory inventory = INVENTORY.get();
    ArchSelector selector =
        new ArchSelector(Driver.probe(inventory, platform), inventory, platform);
    String forced = System.getProperty(ARCH_PROPERTY, "").strip();
    Selection selection =
        forced.isEmpty() ? selector.select() : selector.selectForced(archName(forced));
    warnAboutPtx(selection);
    return selection;
  }

  /** "8.6" and "86" mean "sm86". */
  private static String archName(String text) {
    return text.matches("\\d+\\.?\\d") ? "sm" + text.replace(".", "") : text;
  }

  private static void warnAboutPtx(Selection selection) {
    if (selection.choices().stream().anyMatch(choice -> choice.fit() == Fit.PTX)) {
      LOGGER.log(Level.WARNING, selection.message());
    }
  }

  // --------------------------------------------------------------------------------------- loading

  private static OpenLibrary open(Arch arch) {
    return LIBRARIES.computeIfAbsent(arch.name(), name -> new Once<>(() -> openOnce(arch))).get();
  }

  private static OpenLibrary openOnce(Arch arch) {
    String what = "the library of " + arch.name();
    try {
      Path file = checked(arch);
      Optional<String> failure = BINDINGS_FAILURE.get();
      if (failure.isPresent()) {
        return OpenLibrary.failed(failure.get());
      }
      int number = Libraries.open_library(file.toString());
      if (number < 0) {
        return OpenLibrary.failed(LoadFailure.describe(what, Libraries.library_error(), file));
      }
      if (number > 0) {
        severalOpen = true;
      }
      return new OpenLibrary(number, file, null);
    } catch (NativeFile.DamagedException e) {
      return OpenLibrary.failed(e.getMessage());
    } catch (RuntimeException | LinkageError e) {
      return OpenLibrary.failed(LoadFailure.describe(what, e, null));
    }
  }

  /**
   * A library's file, whole, and tried: it is left open, which lets the bindings find it.
   *
   * @throws NativeFile.DamagedException with a sentence if it can't be loaded
   */
  private static Path checked(Arch arch) throws NativeFile.DamagedException {
    Path file = NativeFile.find(Inventory.library(arch, Loader.getPlatform()));
    String what = "the library of " + arch.name();
    if (file == null) {
      throw new NativeFile.DamagedException(
          what + " is missing although its arch.properties is there: replace the JAR");
    }
    if (selection().driver().status() == Driver.NOT_ASKED) {
      throw new NativeFile.DamagedException(selection().message());
    }
    String reason = GpuProbe.open_failure(file.toString());
    if (!reason.isEmpty()) {
      throw new NativeFile.DamagedException(LoadFailure.describe(what, reason, file));
    }
    return file;
  }

  private static Optional<String> loadBindings() {
    try {
      JavaCpp.initialise();
      int classes = Class.forName(BINDINGS).getField("ATTN4J_ABI_VERSION").getInt(null);
      int glue = Libraries.bindings_abi();
      return glue == classes
          ? Optional.empty()
          : Optional.of(
              "the JNI library has ABI version %d, the Java classes %d: use JARs of one version"
                  .formatted(glue, classes));
    } catch (ReflectiveOperationException | RuntimeException | LinkageError e) {
      return Optional.of(LoadFailure.describe("the bindings' JNI library", e, null));
    }
  }

  /**
   * What the preset calls before JavaCPP loads the bindings: afterwards a library is open that they
   * find, and their own file is whole. Internal.
   *
   * @throws UnsatisfiedLinkError with one sentence if that can't be
   */
  public static void prepareBindings() {
    JavaCpp.initialise();
    Selection selection = selection();
    if (selection.arch().isEmpty()) {
      throw new UnsatisfiedLinkError(selection.message());
    }
    try {
      NativeFile.find(Inventory.bindings(Loader.getPlatform()));
    } catch (NativeFile.DamagedException e) {
      throw new UnsatisfiedLinkError(e.getMessage());
    }
    String first = null;
    for (Arch arch : candidates(selection)) {
      try {
        checked(arch);
        return;
      } catch (NativeFile.DamagedException e) {
        first = first == null ? e.getMessage() : first;
      }
    }
    throw new UnsatisfiedLinkError(first);
  }

  /** The libraries that could be the bindings' first, best first. */
  private static Iterable<Arch> candidates(Selection selection) {
    Stream<Arch> served = selection.choices().stream().flatMap(choice -> choice.arch().stream());
    return Stream.of(selection.arch().stream(), served, selection.installed().stream())
        .flatMap(archs -> archs)
        .distinct()
        .toList();
  }
}
