package org.attn4j.runtime;

import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.stream.Collectors;
import org.attn4j.runtime.Arch.Fit;
import org.attn4j.runtime.Selection.State;

/**
 * The rule that picks one library for a process.
 *
 * <p>The first device that any library runs on decides. Binary code goes before PTX. Among
 * libraries that run on it as binary code, the one that also runs on most of the other devices
 * wins, then the best fit: exact, then the newest of the same major version.
 */
final class ArchSelector {
  private static final String ARTIFACT = "org.attn4j:attn4j-native";
  private static final int OLDEST_SUPPORTED = 80;
  static final List<Integer> RELEASED = List.of(80, 86, 89, 90, 120);

  private final Driver driver;
  private final List<Arch> installed;
  private final String platform;

  ArchSelector(Driver driver, List<Arch> installed, String platform) {
    this.driver = driver;
    this.installed = installed;
    this.platform = platform;
  }

  /** Selects among all installed libraries. */
  Selection select() {
    if (installed.isEmpty()) {
      return new Selection(
          State.NO_ARCH_INSTALLED, nothingInstalled(), Optional.empty(), installed, driver);
    }
    return selectFrom(installed, "");
  }

  /** Selects the named library and no other. */
  Selection selectForced(String name) {
    List<Arch> matching = installed.stream().filter(arch -> arch.name().equals(name)).toList();
    if (matching.isEmpty()) {
      String message =
          "org.attn4j.arch asks for '%s', but the class path holds %s; add %s or change the property"
              .formatted(name, installedNames(), classifier(name));
      return new Selection(State.NO_ARCH_INSTALLED, message, Optional.empty(), installed, driver);
    }
    return selectFrom(matching, ", forced by org.attn4j.arch");
  }

  private Selection selectFrom(List<Arch> candidates, String note) {
    Optional<Device> primary =
        driver.devices().stream().filter(device -> anyRunsOn(candidates, device)).findFirst();
    Arch chosen =
        primary.map(device -> best(candidates, device)).orElseGet(() -> candidates.get(0));
    Optional<Selection> obstacle = obstacle(candidates, chosen);
    if (obstacle.isPresent()) {
      return obstacle.get();
    }
    if (primary.isEmpty()) {
      return blocked(State.NO_COMPATIBLE_ARCH, chosen, incompatible(candidates, note));
    }
    return new Selection(
        State.READY, ready(chosen, primary.get(), note), Optional.of(chosen), installed, driver);
  }

  private static boolean anyRunsOn(List<Arch> candidates, Device device) {
    return candidates.stream().anyMatch(arch -> arch.fit(device.computeCapability()) != Fit.NONE);
  }

  private Arch best(List<Arch> candidates, Device primary) {
    int capability = primary.computeCapability();
    Comparator<Arch> order =
        Comparator.<Arch, Integer>comparing(arch -> arch.fit(capability) == Fit.PTX ? 1 : 0)
            .thenComparing(arch -> -devicesServed(arch))
            .thenComparing(arch -> arch.fit(capability))
            .thenComparing(arch -> -arch.newestCode());
    return candidates.stream()
        .filter(arch -> arch.fit(capability) != Fit.NONE)
        .min(order)
        .orElseThrow();
  }

  private int devicesServed(Arch arch) {
    return (int)
        driver.devices().stream()
            .map(device -> arch.fit(device.computeCapability()))
            .filter(fit -> fit == Fit.EXACT || fit == Fit.SAME_MAJOR)
            .count();
  }

  // ------------------------------------------------------------------------------- what is in the
  // way

  /** What keeps any kernel from running, whatever the library. */
  private Optional<Selection> obstacle(List<Arch> candidates, Arch chosen) {
    int status = driver.status();
    if (status == Driver.NOT_FOUND) {
      return Optional.of(
          blocked(
              State.NO_DRIVER,
              chosen,
              "libcuda.so.1 was not found: install the NVIDIA driver (or run the container with --gpus) to use GPU kernels"));
    }
    if (status == Driver.NOT_ASKED) {
      return Optional.of(
          blocked(
              State.DRIVER_ERROR,
              chosen,
              "the driver could not be asked (%s); add %s:%s"
                  .formatted(driver.detail(), ARTIFACT, platform)));
    }
    if (status == Driver.NOT_A_DRIVER) {
      return Optional.of(
          blocked(
              State.DRIVER_ERROR,
              chosen,
              "libcuda.so.1 lacks the driver's functions: a stub, or a broken installation of the NVIDIA driver"));
    }
    if (status == Driver.NO_DEVICE || status == 0 && driver.devices().isEmpty()) {
      return Optional.of(
          blocked(
              State.NO_DEVICE,
              chosen,
              "the NVIDIA driver sees no device: check nvidia-smi and CUDA_VISIBLE_DEVICES"));
    }
    if (status != 0) {
      return Optional.of(
          blocked(
              State.DRIVER_ERROR,
              chosen,
              "cuInit failed with CUDA error %d%s: check nvidia-smi"
                  .formatted(status, knownError(status))));
    }
    return tooOld(chosen);
  }

  /** CUDA runs what was built with the driver's own major version or an older one. */
  private Optional<Selection> tooOld(Arch chosen) {
    int builtWith = majorVersion(chosen.cudaVersion());
    if (driver.version() <= 0 || driver.version() / 1000 >= builtWith) {
      return Optional.empty();
    }
    return Optional.of(
        blocked(
            State.DRIVER_ERROR,
            chosen,
            "the NVIDIA driver serves CUDA %s, but the kernels were built with CUDA %s: update the driver"
                .formatted(driver.versionText(), chosen.cudaVersion())));
  }

  private static int majorVersion(String version) {
    String major = version.split("\\.")[0];
    return major.matches("\\d+") ? Integer.parseInt(major) : 0;
  }

  private static String knownError(int status) {
    return switch (status) {
      case 3 -> " (not initialized)";
      case 34 -> " (stub library: the CUDA toolkit's libcuda.so was found before the driver's)";
      case 802 -> " (system not ready: is nvidia-fabricmanager running?)";
      case 803 -> " (driver and kernel module don't match: reboot after a driver update)";
      case 804 -> " (the CUDA compatibility package doesn't support this GPU)";
      case 999 -> " (unknown: often the nvidia_uvm module)";
      default -> "";
    };
  }

  private Selection blocked(State state, Arch chosen, String message) {
    return new Selection(state, message, Optional.of(chosen), installed, driver);
  }

  // ------------------------------------------------------------------------------------- sentences

  private String nothingInstalled() {
    if (!platform.equals("linux-x86_64")) {
      return "attn4j has native libraries for linux-x86_64 alone, and this is " + platform;
    }
    String wanted =
        driver.devices().isEmpty()
            ? "org.attn4j:attn4j-platform"
            : classifier("sm" + bestReleased(driver.devices().get(0).computeCapability()));
    return "no native library of attn4j is on the class path%s; add %s, or build it with nvcc"
        .formatted(deviceList().isEmpty() ? "" : " (found " + deviceList() + ")", wanted);
  }

  private String incompatible(List<Arch> candidates, String note) {
    int newest = driver.devices().stream().mapToInt(Device::computeCapability).max().orElse(0);
    String remedy =
        newest < OLDEST_SUPPORTED
            ? "attn4j needs compute capability 8.0 or newer"
            : "add " + classifier("sm" + bestReleased(newest));
    return "%s can't run %s%s; %s".formatted(deviceList(), names(candidates), note, remedy);
  }

  private String ready(Arch chosen, Device primary, String note) {
    StringBuilder text = new StringBuilder();
    Fit fit = chosen.fit(primary.computeCapability());
    text.append("compute capability ").append(primary.capability()).append(" uses ");
    text.append(chosen.name()).append(note);
    switch (fit) {
      case SAME_MAJOR -> text.append(", built for an older device of the same major version");
      case PTX ->
          text.append(
              ", compiled from PTX at first use: slower than code of its own; add %s or build it"
                  .formatted(classifier("sm" + bestReleased(primary.computeCapability()))));
      default -> {}
    }
    text.append(" (found ").append(installedNames()).append(')');
    String others = unserved(chosen);
    if (!others.isEmpty()) {
      text.append("; not served: ").append(others);
      text.append(
          ", since one process loads one library: CUDA_VISIBLE_DEVICES or org.attn4j.arch change the choice");
    }
    return text.toString();
  }

  private String unserved(Arch chosen) {
    return driver.devices().stream()
        .filter(device -> chosen.fit(device.computeCapability()) == Fit.NONE)
        .map(device -> "device %d (%s)".formatted(device.ordinal(), device.capability()))
        .collect(Collectors.joining(", "));
  }

  private String deviceList() {
    return driver.devices().stream()
        .map(device -> "compute capability " + device.capability())
        .distinct()
        .collect(Collectors.joining(", "));
  }

  private String installedNames() {
    return installed.isEmpty() ? "none" : names(installed);
  }

  private static String names(List<Arch> archs) {
    return archs.stream().map(Arch::name).collect(Collectors.joining(", "));
  }

  private String classifier(String name) {
    return ARTIFACT + ":" + platform + "-" + name;
  }

  /**
   * The released classifier that suits a device best: sm80, whose PTX runs on all newer devices, if
   * no other.
   */
  private static int bestReleased(int capability) {
    return RELEASED.stream()
        .filter(code -> code / 10 == capability / 10 && code <= capability)
        .filter(code -> code != 90 || capability == 90)
        .max(Comparator.naturalOrder())
        .orElse(OLDEST_SUPPORTED);
  }
}
