package org.attn4j.torch;

import java.util.Optional;

/** The two ways in which libtorch gets into a JVM, without a dependency on either. */
final class TorchHosts {
  private static final String BYTEDECO = "org.bytedeco.pytorch.global.torch";
  private static final String DJL = "ai.djl.pytorch.engine.PtEngine";

  private TorchHosts() {}

  /**
   * Loads libtorch if it isn't there and it is clear whose. Empty, or one sentence that says what
   * is in the way.
   */
  static Optional<String> load() {
    if (HookLibrary.torchIsLoaded()) {
      return Optional.empty();
    }
    boolean bytedeco = isPresent(BYTEDECO);
    boolean djl = isPresent(DJL);
    if (bytedeco && djl) {
      return Optional.of(
          "bytedeco's PyTorch and DJL's are both on the class path, and neither is loaded: load one"
              + " before the hook is installed");
    }
    if (!bytedeco && !djl) {
      return Optional.of(
          "neither bytedeco's PyTorch nor DJL's is on the class path, and no libtorch is loaded");
    }
    try {
      return bytedeco ? loadBytedeco() : loadDjl();
    } catch (ReflectiveOperationException | LinkageError e) {
      Throwable cause = e.getCause() == null ? e : e.getCause();
      return Optional.of("libtorch could not be loaded: " + cause);
    }
  }

  private static Optional<String> loadBytedeco() throws ReflectiveOperationException {
    Class.forName(BYTEDECO, true, loader());
    return Optional.empty();
  }

  private static Optional<String> loadDjl() throws ReflectiveOperationException {
    Class.forName("ai.djl.engine.Engine", true, loader())
        .getMethod("getEngine", String.class)
        .invoke(null, "PyTorch");
    return Optional.empty();
  }

  private static boolean isPresent(String name) {
    return loader().getResource(name.replace('.', '/') + ".class") != null;
  }

  private static ClassLoader loader() {
    return TorchHosts.class.getClassLoader();
  }
}
