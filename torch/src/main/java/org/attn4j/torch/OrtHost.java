package org.attn4j.torch;

import java.nio.file.Path;
import java.util.Optional;

/**
 * The hook's kernels and policy for ONNX Runtime, whose custom operator is in the hook's native
 * library. Internal: attn4j-onnxruntime has the class for programs.
 */
public final class OrtHost {
  private static boolean installed; // guarded by the class

  private OrtHost() {}

  /**
   * Hands kernels and policy down to the native code. A second call does nothing.
   *
   * @return empty, or one sentence that says why there are no kernels
   */
  public static synchronized Optional<String> install() {
    if (installed) {
      return Optional.empty();
    }
    Optional<String> problem = HookLibrary.load().or(HookKernels::install);
    if (problem.isEmpty()) {
      TorchHook.handPolicyDown();
    }
    installed = problem.isEmpty();
    return problem;
  }

  /** {@return the file of the native library, which {@link #install} has loaded} */
  public static Path library() {
    return HookLibrary.file();
  }

  /** {@return what became of the operator's calls} */
  public static HookCounts counts() {
    return new HookCounts(
        HookLibrary.isLoaded() ? HookLibrary.ortCounts() : new long[HookOutcome.values().length]);
  }

  /** {@return what became of the calling thread's last call; empty if it made none} */
  public static String explainLast() {
    return HookLibrary.isLoaded() ? HookLibrary.ortExplainLast() : "";
  }
}
