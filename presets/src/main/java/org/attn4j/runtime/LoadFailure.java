package org.attn4j.runtime;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.bytedeco.javacpp.Loader;

/**
 * The sentence for a native library that is there and can't be loaded: the innermost reason, and
 * what helps where that was checked to be the cause.
 */
final class LoadFailure {
  private static final Pattern GLIBC = Pattern.compile("version `(GLIBC_[\\d.]+)' not found");

  private LoadFailure() {}

  /**
   * The sentence for an exception.
   *
   * @param what the library: "the driver probe"
   * @param file where it lies, or null
   */
  static String describe(String what, Throwable thrown, Path file) {
    Throwable inner = innermost(thrown);
    if (inner instanceof IllegalCallerException) {
      return "%s could not be loaded: %s; start Java with --enable-native-access=%s"
          .formatted(what, text(inner), modules());
    }
    return describe(what, text(inner), file);
  }

  /** The sentence for a reason, such as that of dlerror. */
  static String describe(String what, String reason, Path file) {
    return "%s could not be loaded: %s%s".formatted(what, reason, remedy(reason, file));
  }

  /** What started it. JavaCPP wraps the reason in an error that says that nothing was found. */
  static Throwable innermost(Throwable thrown) {
    Throwable inner = thrown;
    while (inner.getCause() != null && inner.getCause() != inner) {
      inner = inner.getCause();
    }
    return inner;
  }

  /** The message, or the name of the class where there is none. */
  static String text(Throwable thrown) {
    String message = thrown.getMessage();
    return message == null || message.isBlank()
        ? thrown.getClass().getName()
        // The JVM puts the file before dlerror's text, which begins with it too.
        : message.strip().replaceAll("\\s*\\R\\s*", " ").replaceFirst("^(/.*?): \\1: ", "$1: ");
  }

  private static String remedy(String reason, Path file) {
    if (mapped("/ld-musl-")) {
      return "; this Java runs on musl, the libraries need glibc";
    }
    Matcher glibc = GLIBC.matcher(reason);
    if (glibc.find()) {
      return "; this system's glibc is older than " + glibc.group(1).replace('_', ' ');
    }
    if (reason.contains("failed to map segment")
        && file != null
        && isNoexec(file, lines("/proc/self/mountinfo"))) {
      return "; that is on a file system mounted noexec: set org.bytedeco.javacpp.cachedir to a folder that isn't";
    }
    return "";
  }

  /** The modules that call native code, as --enable-native-access wants them. */
  private static String modules() {
    return Stream.of(Loader.class, LoadFailure.class)
        .map(Class::getModule)
        .map(module -> module.isNamed() ? module.getName() : "ALL-UNNAMED")
        .distinct()
        .collect(Collectors.joining(","));
  }

  private static boolean mapped(String fragment) {
    return lines("/proc/self/maps").stream().anyMatch(line -> line.contains(fragment));
  }

  /**
   * Whether the file system that holds a file is mounted noexec.
   *
   * @param mounts the lines of /proc/self/mountinfo
   */
  static boolean isNoexec(Path file, List<String> mounts) {
    Path folder;
    try {
      folder = file.toRealPath();
    } catch (IOException e) {
      folder = file.toAbsolutePath();
    }
    // Each line: id, parent, device, root, mount point, options, ...; the longest mount point that
    // the path starts with holds it, and of equal ones the last.
    String options = "";
    int longest = -1;
    for (String line : mounts) {
      String[] fields = line.split(" ");
      Path point = Path.of(fields[4].replace("\\040", " "));
      if (folder.startsWith(point) && point.getNameCount() >= longest) {
        longest = point.getNameCount();
        options = fields[5];
      }
    }
    return Stream.of(options.split(",")).anyMatch("noexec"::equals);
  }

  private static List<String> lines(String file) {
    try {
      return Files.readAllLines(Path.of(file));
    } catch (IOException e) {
      return List.of();
    }
  }
}
