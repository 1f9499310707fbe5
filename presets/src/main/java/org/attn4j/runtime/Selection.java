package org.attn4j.runtime;

import java.util.List;
import java.util.Optional;

/**
 * Which native library each device of this process uses, and why.
 *
 * @param state whether GPU kernels can run on any device
 * @param message the state in one sentence, for a person who wants to know what to do
 * @param choices what each device uses, in the driver's order
 * @param arch the library of the first device that is served; without one any that is installed, so
 *     that host-side calls work; empty if there is none
 * @param installed the classifier JARs on the class path that hold a library
 * @param driver what the driver said
 */
public record Selection(
    State state,
    String message,
    List<DeviceChoice> choices,
    Optional<Arch> arch,
    List<Arch> installed,
    Driver driver) {

  /** Whether GPU kernels can run, and if not, what is in the way. */
  public enum State {
    /** A device and a library that runs on it. */
    READY,
    /** There is no NVIDIA driver. */
    NO_DRIVER,
    /** The driver sees no device. */
    NO_DEVICE,
    /** The driver can't be asked, reports an error, or is too old for the library. */
    DRIVER_ERROR,
    /** No library on the class path runs on any device. */
    NO_COMPATIBLE_ARCH,
    /**
     * There is no library on the class path, or not the one that {@code org.attn4j.arch} asks for.
     */
    NO_ARCH_INSTALLED
  }

  /** Creates a selection with copies of the lists. */
  public Selection {
    choices = List.copyOf(choices);
    installed = List.copyOf(installed);
  }

  /** Whether GPU kernels can run on at least one device. */
  public boolean isReady() {
    return state == State.READY;
  }

  /** What a device uses; empty for a device that is not there. */
  public Optional<DeviceChoice> choice(int deviceOrdinal) {
    return choices.stream()
        .filter(choice -> choice.device().ordinal() == deviceOrdinal)
        .findFirst();
  }

  /** How its library's code runs on a device. NONE for a device that is not there. */
  public Arch.Fit fit(int deviceOrdinal) {
    return choice(deviceOrdinal).map(DeviceChoice::fit).orElse(Arch.Fit.NONE);
  }

  /** Empty if a library was chosen for the device; otherwise one sentence that says why not. */
  public Optional<String> obstacle(int deviceOrdinal) {
    if (!isReady()) {
      return Optional.of(message);
    }
    Optional<DeviceChoice> choice = choice(deviceOrdinal);
    if (choice.isEmpty()) {
      return Optional.of(
          "there is no device %d; the driver sees %d, counted from 0"
              .formatted(deviceOrdinal, choices.size()));
    }
    return choice.get().isServed()
        ? Optional.empty()
        : Optional.of("device %d: %s".formatted(deviceOrdinal, choice.get().message()));
  }
}
