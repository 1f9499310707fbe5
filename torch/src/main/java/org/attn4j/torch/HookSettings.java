package org.attn4j.torch;

import java.nio.file.Path;
import java.util.Optional;

/** What system properties say. The only class of this module that reads them. */
final class HookSettings {
  /**
   * For tests on a machine without a GPU: a library with the functions of attn4j.h whose kernels
   * run in host memory. The hook then serves tensors on the CPU with it too.
   */
  static final String CPU_LIBRARY_PROPERTY = "org.attn4j.torch.cpuLibrary";

  private HookSettings() {}

  static Optional<Path> cpuLibrary() {
    String value = System.getProperty(CPU_LIBRARY_PROPERTY, "").strip();
    return value.isEmpty() ? Optional.empty() : Optional.of(Path.of(value));
  }
}
