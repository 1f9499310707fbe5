package org.attn4j.runtime;

import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.net.URL;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.TreeMap;
import java.util.zip.ZipFile;

/**
 * The native JARs on the class path.
 *
 * @param archs those that hold a library
 * @param empty those that were built without one, each with the reason that the build recorded
 * @param unreadable one sentence for each JAR of ours that Java can't open, and so doesn't see
 */
record Inventory(List<Arch> archs, Map<String, String> empty, List<String> unreadable) {
  private static final String RESOURCES = "org/attn4j/natives/";
  private static final String PROBE_RESOURCES = "org/attn4j/runtime/";

  /** The key of the JAR without an architecture in {@link #empty}. */
  static final String BASE = "";

  private static final Logger LOGGER = System.getLogger("org.attn4j");
  private static final String ARTIFACT = "attn4j-native-";
  private static final int FIRST_ARCH = 80;
  private static final int LAST_ARCH = 199;

  /** Creates an inventory with copies. */
  Inventory {
    archs = List.copyOf(archs);
    empty = Map.copyOf(empty);
    unreadable = List.copyOf(unreadable);
  }

  /** An inventory of libraries alone. */
  static Inventory of(List<Arch> archs) {
    return new Inventory(archs, Map.of(), List.of());
  }

  /**
   * Looks for classifiers. Names are open, because anyone may build one for another architecture;
   * the class loader is asked rather than a class, which under the module system would see its own
   * module alone.
   */
  static Inventory ofClassPath(String platform) {
    List<Arch> archs = new ArrayList<>();
    Map<String, String> empty = new TreeMap<>();
    for (int arch = FIRST_ARCH; arch <= LAST_ARCH; arch++) {
      String name = "sm" + arch;
      Properties properties = read(RESOURCES + platform + "-" + name + "/arch.properties");
      if (properties == null) {
        continue;
      }
      if (properties.containsKey("absent")) {
        empty.put(name, properties.getProperty("absent"));
        continue;
      }
      try {
        archs.add(Arch.of(properties));
      } catch (IllegalArgumentException e) {
        LOGGER.log(
            Level.WARNING, "ignored, the arch.properties of " + name + " are no description", e);
      }
    }
    Properties base = read(PROBE_RESOURCES + platform + "/absent.properties");
    if (base != null) {
      empty.put(BASE, base.getProperty("absent", ""));
    }
    return new Inventory(archs, empty, unreadableJars(System.getProperty("java.class.path", "")));
  }

  private static Properties read(String resource) {
    URL url = Inventory.class.getClassLoader().getResource(resource);
    if (url == null) {
      return null;
    }
    Properties properties = new Properties();
    try (InputStream stream = url.openStream()) {
      properties.load(stream);
      return properties;
    } catch (IOException | IllegalArgumentException e) {
      LOGGER.log(Level.WARNING, "unreadable, ignored: " + url, e);
      return null;
    }
  }

  /** Java passes over a JAR that it can't open without a word. */
  static List<String> unreadableJars(String classPath) {
    List<String> sentences = new ArrayList<>();
    for (String entry : classPath.split(File.pathSeparator)) {
      Path file = Path.of(entry);
      if (file.getFileName() == null
          || !file.getFileName().toString().startsWith(ARTIFACT)
          || !file.toFile().isFile()) {
        continue;
      }
      try {
        new ZipFile(file.toFile()).close();
      } catch (IOException e) {
        sentences.add("%s is damaged: %s".formatted(file, LoadFailure.text(e)));
      }
    }
    return sentences;
  }

  /** The resource of an architecture's library. */
  static String library(Arch arch, String platform) {
    return RESOURCES + platform + "-" + arch.name() + "/libattn4j.so";
  }

  /** The resource of the bindings' JNI library. */
  static String bindings(String platform) {
    return RESOURCES + platform + "/libjniattn4j.so";
  }

  /** The resource of the driver probe. */
  static String probe(String platform) {
    return PROBE_RESOURCES + platform + "/libjniattn4jprobe.so";
  }

  /** Why there is no driver probe. */
  String noProbe(String platform) {
    String reason = empty.get(BASE);
    if (reason != null) {
      return "the JAR of org.attn4j:attn4j-native:%s is empty: %s".formatted(platform, reason);
    }
    return unreadable.isEmpty()
        ? "org.attn4j:attn4j-native:%s is not on the class path; add it".formatted(platform)
        : String.join("; ", unreadable);
  }

  /** The architectures whose JAR is empty. */
  List<String> emptyArchs() {
    return empty.keySet().stream().filter(name -> !name.equals(BASE)).sorted().toList();
  }

  /** What is wrong with the JARs, one sentence each. */
  List<String> faults() {
    Map<String, List<String>> byReason = new TreeMap<>();
    new TreeMap<>(empty)
        .forEach(
            (name, reason) ->
                byReason
                    .computeIfAbsent(reason, none -> new ArrayList<>())
                    .add(name.equals(BASE) ? "the loader" : name));
    List<String> all = new ArrayList<>(unreadable);
    byReason.forEach(
        (reason, names) ->
            all.add("empty JARs of %s: %s".formatted(String.join(", ", names), reason)));
    return all;
  }
}
