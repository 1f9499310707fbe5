package org.attn4j.torch;

/**
 * Installs the hook before the program starts: {@code java -javaagent:attn4j-torch.jar ...}, with
 * attn4j-platform on the class path. Loads libtorch, which the program would do later.
 */
public final class HookAgent {
  private HookAgent() {}

  /**
   * Called by the JVM. What is in the way is logged; the program starts in any case.
   *
   * @param arguments what stands behind = on the command line; not read
   */
  public static void premain(String arguments) {
    TorchHook.installAndLog();
  }
}
