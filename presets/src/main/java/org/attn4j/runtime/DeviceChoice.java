package org.attn4j.runtime;

import java.util.Optional;
import org.attn4j.runtime.Arch.Fit;

/**
 * What one device of the process runs.
 *
 * @param device the device
 * @param arch the library that serves it; empty if none does
 * @param fit how that library's code runs on it; NONE if there is none
 * @param message one sentence: which library it uses, or why none can serve it
 */
public record DeviceChoice(Device device, Optional<Arch> arch, Fit fit, String message) {
  static DeviceChoice served(Device device, Arch arch, String message) {
    return new DeviceChoice(
        device, Optional.of(arch), arch.fit(device.computeCapability()), message);
  }

  static DeviceChoice refused(Device device, String message) {
    return new DeviceChoice(device, Optional.empty(), Fit.NONE, message);
  }

  /** Whether a library serves the device. */
  public boolean isServed() {
    return arch.isPresent();
  }
}
