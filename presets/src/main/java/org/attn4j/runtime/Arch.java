package org.attn4j.runtime;

import java.util.Arrays;
import java.util.List;
import java.util.Properties;
import java.util.stream.Stream;

/**
 * One classifier JAR on the class path, and the code that it really holds.
 *
 * @param name the architecture that the classifier is named after: "sm90"
 * @param sass binary code: "90a". Code with a suffix runs on exactly that device
 * @param ptx intermediate code, which the driver compiles for newer devices: "80"
 * @param cudaVersion the CUDA version that it was built with: "13.0"
 */
public record Arch(String name, List<String> sass, List<String> ptx, String cudaVersion) {

  /** How well code fits a device, best first. */
  public enum Fit {
    /** Compiled for this very device. */
    EXACT,
    /** Compiled for an older device of the same major version, which its binary code runs on. */
    SAME_MAJOR,
    /** The driver compiles PTX at first use: slower to start, and slower to run than tuned code. */
    PTX,
    /** Doesn't run. */
    NONE
  }

  /**
   * Creates an entry with copies of the lists; an IllegalArgumentException if there is anything
   * else than code in them.
   */
  public Arch {
    sass = List.copyOf(sass);
    ptx = List.copyOf(ptx);
    if (name == null || !Stream.concat(sass.stream(), ptx.stream()).allMatch(Arch::isCode)) {
      throw new IllegalArgumentException("no description of a library: " + name + sass + ptx);
    }
  }

  /** Reads an arch.properties, which cppbuild.sh writes beside each library. */
  static Arch of(Properties properties) {
    return new Arch(
        properties.getProperty("arch"),
        split(properties.getProperty("sass", "")),
        split(properties.getProperty("ptx", "")),
        properties.getProperty("cuda", ""));
  }

  private static List<String> split(String codes) {
    return Arrays.stream(codes.split("[ ,]+")).filter(code -> !code.isEmpty()).toList();
  }

  /** The best way in which this library's code runs on a device of the given compute capability. */
  public Fit fit(int computeCapability) {
    if (sass.stream().anyMatch(code -> number(code) == computeCapability)) {
      return Fit.EXACT;
    }
    if (sass.stream().anyMatch(code -> runsOnNewerMinor(code, computeCapability))) {
      return Fit.SAME_MAJOR;
    }
    return ptx.stream().anyMatch(code -> number(code) <= computeCapability) ? Fit.PTX : Fit.NONE;
  }

  /** The CUDA version as the driver counts it, 1000 * major + 10 * minor; 0 if it isn't known. */
  int cudaNumber() {
    String[] parts = cudaVersion.split("\\.");
    boolean numbers = parts.length >= 2 && parts[0].matches("\\d+") && parts[1].matches("\\d+");
    return numbers ? 1000 * Integer.parseInt(parts[0]) + 10 * Integer.parseInt(parts[1]) : 0;
  }

  /** The newest of this library's codes: among equal fits, the newer code is the better one. */
  int newestCode() {
    return sass.stream().mapToInt(Arch::number).max().orElse(0);
  }

  private static boolean runsOnNewerMinor(String code, int computeCapability) {
    boolean archSpecific = code.endsWith("a");
    return !archSpecific
        && number(code) / 10 == computeCapability / 10
        && number(code) < computeCapability;
  }

  private static boolean isCode(String text) {
    return text.matches("\\d{2,3}[af]?");
  }

  private static int number(String code) {
    return Integer.parseInt(code.replaceAll("[af]$", ""));
  }
}
