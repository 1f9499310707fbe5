package org.attn4j.runtime;

import java.io.IOException;
import java.io.InputStream;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.net.URL;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Properties;
import org.attn4j.runtime.Arch.Fit;
import org.bytedeco.javacpp.Loader;

/**
 * The native library of this process. Ask here before touching any class of {@code
 * org.attn4j.natives}: nothing here throws, and the answer doesn't change while the process lives.
 *
 * <p>The system property {@code org.attn4j.arch} (such as {@code sm86}) names the library to load,
 * whatever the device.
 */
public final class NativeLibrary {
  /** The system property that forces one architecture: {@code sm86}, or {@code 8.6}. */
  public static final String ARCH_PROPERTY = "org.attn4j.arch";

  private static final Logger LOGGER = System.getLogger("org.attn4j");
  private static final String RESOURCES = "org/attn4j/natives/";
  private static final String BINDINGS = "org.attn4j.natives.global.attn4j";
  private static final int FIRST_ARCH = 80;
  private static final int LAST_ARCH = 199;

  // No static initialiser of this library waits for anything: JavaCPP's classes wait for each
  // other's initialisers, and one more in that circle closes it.
  private static final Once<Selection> SELECTION = new Once<>(NativeLibrary::select);
  private static final Once<Optional<String>> FAILURE = new Once<>(NativeLibrary::load);

  private NativeLibrary() {}

  /** What the preset calls before JavaCPP loads the bindings. Internal. */
  public static void prepareJavaCpp() {
    JavaCpp.initialise();
  }

  /** Which library this process uses, and why. Asks the driver at the first call. */
  public static Selection selection() {
    return SELECTION.get();
  }

  /**
   * Loads the library at the first call. Empty if the bindings can be used; otherwise one sentence
   * that says why not. A library that loads needs no GPU: ask {@link #gpuObstacle} before running a
   * kernel.
   */
  public static Optional<String> loadFailure() {
    return FAILURE.get();
  }

  /** Empty if GPU kernels can run; otherwise one sentence that says why not. */
  public static Optional<String> gpuObstacle() {
    Selection selection = selection();
    return selection.isReady() ? loadFailure() : Optional.of(selection.message());
  }

  // ------------------------------------------------------------------------------------- selecting

  private static Selection select() {
    String platform = Loader.getPlatform();
    ArchSelector selector = new ArchSelector(Driver.probe(), installed(platform), platform);
    String forced = System.getProperty(ARCH_PROPERTY, "").strip();
    return forced.isEmpty() ? selector.select() : selector.selectForced(archName(forced));
  }

  /** "8.6" and "86" mean "sm86". */
  private static String archName(String text) {
    return text.matches("\\d+\\.?\\d") ? "sm" + text.replace(".", "") : text;
  }

  /**
   * The classifier JARs on the class path. Names are open, because anyone may build one for another
   * architecture; the class loader is asked rather than a class, which under the module system
   * would see its own module alone.
   */
  private static List<Arch> installed(String platform) {
    List<Arch> archs = new ArrayList<>();
    ClassLoader loader = NativeLibrary.class.getClassLoader();
    for (int arch = FIRST_ARCH; arch <= LAST_ARCH; arch++) {
      URL url = loader.getResource(RESOURCES + platform + "-sm" + arch + "/arch.properties");
      if (url != null) {
        read(url).ifPresent(archs::add);
      }
    }
    return archs;
  }

  private static Optional<Arch> read(URL url) {
    Properties properties = new Properties();
    try (InputStream stream = url.openStream()) {
      properties.load(stream);
      return Optional.of(Arch.of(properties));
    } catch (IOException | RuntimeException e) {
      LOGGER.log(Level.WARNING, "unreadable, ignored: " + url, e);
      return Optional.empty();
    }
  }

  // --------------------------------------------------------------------------------------- loading

  private static Optional<String> load() {
    Selection selection = selection();
    if (selection.arch().isEmpty()) {
      return Optional.of(selection.message());
    }
    Arch arch = selection.arch().get();
    try {
      JavaCpp.initialise();
      Class<?> bindings = Class.forName(BINDINGS);
      int expected = bindings.getField("ATTN4J_ABI_VERSION").getInt(null);
      int found = (int) bindings.getMethod("abi_version").invoke(null);
      if (found != expected) {
        return Optional.of(
            "the library of %s has ABI version %d, the Java classes %d: use JARs of one version"
                .formatted(arch.name(), found, expected));
      }
    } catch (ReflectiveOperationException | LinkageError e) {
      return Optional.of("the library of %s could not be loaded: %s".formatted(arch.name(), e));
    }
    warnAboutPtx(selection);
    return Optional.empty();
  }

  private static void warnAboutPtx(Selection selection) {
    boolean anyPtx =
        selection.driver().devices().stream()
            .anyMatch(device -> selection.fit(device.ordinal()) == Fit.PTX);
    if (selection.isReady() && anyPtx) {
      LOGGER.log(Level.WARNING, selection.message());
    }
  }
}
