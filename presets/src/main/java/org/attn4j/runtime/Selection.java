package org.attn4j.runtime;

import java.util.List;
import java.util.Optional;

/**
 * Which native library this process uses, and why. One process loads one library; all its GPUs are
 * served by it.
 *
 * @param state whether GPU kernels can run
 * @param message the state in one sentence, for a person who wants to know what to do
 * @param arch the library that gets loaded; without a usable GPU any one, so that host-side calls
 *     work; empty if there is none
 * @param installed the classifier JARs on the class path
 * @param driver what the driver said
 */
public record Selection(
    State state, String message, Optional<Arch> arch, List<Arch> installed, Driver driver) {

  /** Whether GPU kernels can run, and if not, what is in the way. */
  public enum State {
    /** A device and a library that runs on it. */
    READY,
    /** There is no NVIDIA driver. */
    NO_DRIVER,
    /** The driver sees no device. */
    NO_DEVICE,
    /** The driver reports an error, or is too old for the library. */
    DRIVER_ERROR,
    /** No library on the class path runs on any device. */
    NO_COMPATIBLE_ARCH,
    /**
     * There is no library on the class path, or not the one that {@code org.attn4j.arch} asks for.
     */
    NO_ARCH_INSTALLED
  }

  /** Creates a selection with a copy of the list. */
  public Selection {
    installed = List.copyOf(installed);
  }

  /** Whether GPU kernels can run on at least one device. */
  public boolean isReady() {
    return state == State.READY;
  }

  /** How the library's code runs on a device. NONE for a device that is not there. */
  public Arch.Fit fit(int deviceOrdinal) {
    return driver.devices().stream()
        .filter(device -> device.ordinal() == deviceOrdinal)
        .findFirst()
        .flatMap(device -> arch.map(chosen -> chosen.fit(device.computeCapability())))
        .orElse(Arch.Fit.NONE);
  }
}
