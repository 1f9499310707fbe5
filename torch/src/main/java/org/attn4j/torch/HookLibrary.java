package org.attn4j.torch;

import java.io.IOException;
import java.lang.System.Logger.Level;
import java.nio.file.Path;
import java.util.Optional;
import org.bytedeco.javacpp.Loader;

/** The native library of the hook, and the only class with native methods. */
final class HookLibrary {
  private static final String RESOURCE = "linux-x86_64/libattn4jtorch.so";

  private static boolean loading; // guarded by the class
  private static volatile boolean loaded;
  private static volatile Path file; // null where the program loaded it

  private HookLibrary() {}

  /** Loads the library at the first call. Empty, or one sentence that says why it can't. */
  static synchronized Optional<String> load() {
    if (loaded) {
      return Optional.empty();
    }
    if (HookLibrary.class.getResource(RESOURCE) == null) {
      return Optional.of(
          "this JAR of attn4j-torch holds no native library: it was built without g++");
    }
    loading = true;
    try {
      file = Loader.cacheResource(HookLibrary.class, RESOURCE).getCanonicalFile().toPath();
      System.load(file.toString());
      return loaded
          ? Optional.empty()
          : Optional.of("the native library of attn4j-torch has other methods than its classes");
    } catch (IOException | LinkageError e) {
      return Optional.of("the native library of attn4j-torch could not be loaded: " + e);
    } finally {
      loading = false;
    }
  }

  static boolean isLoaded() {
    return loaded;
  }

  /** Where it lies; null unless {@link #load} has loaded it. */
  static Path file() {
    return file;
  }

  /**
   * Called by the library when it has been loaded and its methods can be called. Where not {@link
   * #load} did that but the program, the hook is wanted: DJL loads what the environment variable
   * PYTORCH_EXTRA_LIBRARY_PATH names as soon as libtorch is there.
   */
  private static synchronized void ready() {
    loaded = true;
    if (!loading) {
      TorchHook.installAndLog();
    }
  }

  /** Called by the library for each outcome, when it comes for the first time. */
  private static void firstTime(int outcome, String sentence) {
    boolean served = HookOutcome.values()[outcome].isServed();
    System.getLogger("org.attn4j")
        .log(
            Level.INFO,
            "aten::scaled_dot_product_attention: "
                + (served ? sentence : "left to PyTorch: " + sentence));
  }

  // torch/src/main/cpp/jni.cpp has them.

  /** Null, or one sentence that says why not. */
  static native String install(boolean cpu);

  static native boolean torchIsLoaded();

  /** Addresses of functions, 0 for those that the library lacks; null if it can't be opened. */
  static native long[] lookup(String path, String[] names);

  /** Device -1 is the CPU. False if the number of functions is not the one that was compiled. */
  static native boolean setKernels(int device, int computeCapability, long[] functions);

  static native boolean setPolicy(int[] policy);

  /** What counted before; -1 if the policy doesn't fit. */
  static native long enterScope(int[] policy);

  static native void leaveScope(long before);

  /** What counted before. */
  static native boolean setPassing(boolean passing);

  static native void setEnabled(boolean enabled);

  static native boolean isEnabled();

  static native long[] counts();

  static native String explainLast();

  /** Of ONNX Runtime's operator. */
  static native long[] ortCounts();

  static native String ortExplainLast();

  /** Null for a number that is none. */
  static native String outcomeName(int outcome);

  /** ATTN4J_ABI_VERSION of the header that the library was compiled with. */
  static native int abiVersion();
}
