package org.attn4j.runtime;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.stream.Collectors;
import org.attn4j.runtime.Arch.Fit;
import org.attn4j.runtime.Selection.State;

/**
 * The rule that picks a library for each device.
 *
 * <p>Each device gets the best for itself: code compiled for it, then code for an older device of
 * its major version, the newest first, then PTX; all that only as far as the driver runs it.
 */
final class ArchSelector {
  private static final String ARTIFACT = "org.attn4j:attn4j-native";
  private static final int OLDEST_SUPPORTED = 80;
  private static final String RELEASED_PLATFORM = "linux-x86_64";
  private static final String PREPARED_PLATFORM = "linux-arm64";
  static final List<Integer> RELEASED = List.of(80, 86, 89, 90, 120);

  private final Driver driver;
  private final Inventory inventory;
  private final List<Arch> installed;
  private final String platform;

  ArchSelector(Driver driver, Inventory inventory, String platform) {
    this.driver = driver;
    this.inventory = inventory;
    this.installed = inventory.archs();
    this.platform = platform;
  }

  /** Selects among all installed libraries. */
  Selection select() {
    return installed.isEmpty() ? absent(nothingInstalled()) : selectFrom(installed, "");
  }

  /** Selects the named library and no other, for all devices. */
  Selection selectForced(String name) {
    List<Arch> matching = installed.stream().filter(arch -> arch.name().equals(name)).toList();
    if (matching.isEmpty()) {
      return absent(
          "org.attn4j.arch asks for '%s', but the class path holds %s; add %s or change the property"
              .formatted(name, installed.isEmpty() ? "none" : names(installed), classifier(name)));
    }
    return selectFrom(matching, ", forced by org.attn4j.arch");
  }

  private Selection absent(String message) {
    List<DeviceChoice> choices =
        driver.devices().stream().map(device -> DeviceChoice.refused(device, message)).toList();
    return new Selection(
        State.NO_ARCH_INSTALLED, message, choices, Optional.empty(), installed, driver);
  }

  private Selection selectFrom(List<Arch> candidates, String note) {
    String obstacle = obstacle();
    if (obstacle != null) {
      return blocked(obstacleState(), candidates.get(0), List.of(), obstacle);
    }
    List<DeviceChoice> choices =
        driver.devices().stream().map(device -> choice(device, candidates, note)).toList();
    Optional<Arch> first = choices.stream().flatMap(choice -> choice.arch().stream()).findFirst();
    if (first.isPresent()) {
      return new Selection(State.READY, ready(choices), choices, first, installed, driver);
    }
    // What an update of the driver would serve comes before what nothing would.
    Optional<DeviceChoice> waiting =
        choices.stream().filter(choice -> runsOn(candidates, choice.device())).findFirst();
    return waiting.isPresent()
        ? blocked(State.DRIVER_ERROR, candidates.get(0), choices, waiting.get().message())
        : blocked(
            State.NO_COMPATIBLE_ARCH,
            candidates.get(0),
            choices,
            incompatible(driver.devices(), candidates, note));
  }

  private Selection blocked(State state, Arch library, List<DeviceChoice> choices, String message) {
    return new Selection(state, message, choices, Optional.of(library), installed, driver);
  }

  // ------------------------------------------------------------------------------ for one device

  private DeviceChoice choice(Device device, List<Arch> candidates, String note) {
    int capability = device.computeCapability();
    List<Arch> ranked =
        candidates.stream()
            .filter(arch -> arch.fit(capability) != Fit.NONE)
            .sorted(
                Comparator.<Arch, Fit>comparing(arch -> arch.fit(capability))
                    .thenComparing(arch -> -arch.newestCode()))
            .toList();
    for (Arch arch : ranked) {
      if (driver.runs(arch, arch.fit(capability))) {
        return DeviceChoice.served(device, arch, served(device, arch, note));
      }
    }
    return DeviceChoice.refused(
        device,
        ranked.isEmpty()
            ? incompatible(List.of(device), candidates, note)
            : driverTooOld(device, ranked.get(0)));
  }

  private static boolean runsOn(List<Arch> candidates, Device device) {
    return candidates.stream().anyMatch(arch -> arch.fit(device.computeCapability()) != Fit.NONE);
  }

  // ------------------------------------------------------------ what keeps every kernel from
  // running

  private State obstacleState() {
    return switch (driver.status()) {
      case Driver.NOT_FOUND -> State.NO_DRIVER;
      case Driver.NO_DEVICE, 0 -> State.NO_DEVICE;
      default -> State.DRIVER_ERROR;
    };
  }

  private String obstacle() {
    int status = driver.status();
    return switch (status) {
      case 0 -> driver.devices().isEmpty() ? noDevice() : null;
      case Driver.NO_DEVICE -> noDevice();
      case Driver.NOT_FOUND ->
          "libcuda.so.1 was not found: install the NVIDIA driver (or run the container with --gpus) to use GPU kernels";
      case Driver.NOT_OPENED ->
          "libcuda.so.1 is there and can't be opened: %s".formatted(driver.detail());
      case Driver.NOT_ASKED -> "the driver could not be asked: %s".formatted(driver.detail());
      case Driver.NOT_A_DRIVER ->
          "libcuda.so.1 lacks the driver's functions: a stub, or a broken installation of the NVIDIA driver";
      default ->
          "cuInit failed with CUDA error %d%s: check nvidia-smi"
              .formatted(status, knownError(status));
    };
  }

  private static String noDevice() {
    return "the NVIDIA driver sees no device: check nvidia-smi and CUDA_VISIBLE_DEVICES";
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

  // ------------------------------------------------------------------------------------- sentences

  private String nothingInstalled() {
    Optional<String> elsewhere = elsewhere();
    if (elsewhere.isPresent()) {
      return elsewhere.get();
    }
    String found = deviceList(driver.devices());
    String suffix = found.isEmpty() ? "" : " (found " + found + ")";
    if (!inventory.unreadable().isEmpty()) {
      return "no native library of attn4j can be read%s: %s; replace it"
          .formatted(suffix, String.join("; ", inventory.unreadable()));
    }
    List<String> empty = inventory.emptyArchs();
    if (!empty.isEmpty()) {
      return "the native JARs on the class path (%s) are empty%s: %s; build them with nvcc, or take released ones"
          .formatted(String.join(", ", empty), suffix, inventory.empty().get(empty.get(0)));
    }
    String wanted =
        driver.devices().isEmpty()
            ? "org.attn4j:attn4j-platform"
            : classifier("sm" + bestReleased(driver.devices().get(0).computeCapability()));
    return "no native library of attn4j is on the class path%s; add %s, or build it with nvcc"
        .formatted(suffix, wanted);
  }

  /** What there is for a platform without released libraries; empty for the others. */
  private Optional<String> elsewhere() {
    if (platform.equals(RELEASED_PLATFORM)) {
      return Optional.empty();
    }
    String there =
        "attn4j has native libraries for %s alone, and this is %s"
            .formatted(RELEASED_PLATFORM, platform);
    if (platform.equals(PREPARED_PLATFORM)) {
      return Optional.of(
          there + ": build them with mvn -Djavacpp.platform=" + platform + ", which is new");
    }
    return Optional.of(
        platform.startsWith("windows")
            ? there + ": the CPU backend serves here, or run it under Linux"
            : there + ": the CPU backend serves here");
  }

  private String incompatible(List<Device> devices, List<Arch> candidates, String note) {
    int newest = devices.stream().mapToInt(Device::computeCapability).max().orElse(0);
    return "%s can't run %s%s; %s"
        .formatted(
            deviceList(devices),
            names(candidates),
            note,
            newest < OLDEST_SUPPORTED
                ? "attn4j needs compute capability 8.0 or newer"
                : remedy("sm" + bestReleased(newest)));
  }

  /** What to do about a library that is missing. */
  private String remedy(String name) {
    String reason = inventory.empty().get(name);
    return reason == null
        ? "add " + classifier(name)
        : "%s is on the class path, but empty: %s".formatted(classifier(name), reason);
  }

  private String driverTooOld(Device device, Arch arch) {
    return arch.fit(device.computeCapability()) == Fit.PTX
        ? "compute capability %s has %s's PTX of CUDA %s alone, which a driver of that version or newer compiles, and this one serves CUDA %s: update the driver, or build for the device"
            .formatted(device.capability(), arch.name(), arch.cudaVersion(), driver.versionText())
        : "the NVIDIA driver serves CUDA %s, but the kernels were built with CUDA %s: update the driver"
            .formatted(driver.versionText(), arch.cudaVersion());
  }

  private String served(Device device, Arch arch, String note) {
    String text =
        "compute capability %s uses %s%s".formatted(device.capability(), arch.name(), note);
    return switch (arch.fit(device.computeCapability())) {
      case SAME_MAJOR -> text + ", built for an older device of the same major version";
      case PTX ->
          "%s, compiled from PTX at first use: slower than code of its own; add %s or build it"
              .formatted(text, classifier("sm" + bestReleased(device.computeCapability())));
      default -> text;
    };
  }

  private String ready(List<DeviceChoice> choices) {
    List<String> parts = new ArrayList<>();
    parts.add(
        choices.stream()
                .filter(DeviceChoice::isServed)
                .map(DeviceChoice::message)
                .distinct()
                .collect(Collectors.joining("; "))
            + " (found "
            + names(installed)
            + ")");
    choices.stream()
        .filter(choice -> !choice.isServed())
        .map(
            choice ->
                "not served: device %d, %s".formatted(choice.device().ordinal(), choice.message()))
        .forEach(parts::add);
    return String.join("; ", parts);
  }

  private static String deviceList(List<Device> devices) {
    return devices.stream()
        .map(device -> "compute capability " + device.capability())
        .distinct()
        .collect(Collectors.joining(", "));
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
