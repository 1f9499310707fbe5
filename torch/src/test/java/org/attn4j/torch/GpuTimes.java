package org.attn4j.torch;

import java.io.IOException;

/** {@link HookCost}, which begins without the hook, then {@link ModelSpeed}, in one process. */
final class GpuTimes {
  private GpuTimes() {}

  public static void main(String[] arguments) throws IOException {
    HookCost.main(arguments);
    TorchHook.setEnabled(true);
    ModelSpeed.main(arguments);
  }
}
