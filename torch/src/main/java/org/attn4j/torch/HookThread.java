package org.attn4j.torch;

import java.util.List;
import org.attn4j.AttentionOptions;

/**
 * What holds for the calls of one thread. Internal: attn4j-pytorch uses it, so that its scopes
 * reach TorchScript, and its own calls of PyTorch pass through untouched.
 */
public final class HookThread {
  /** What {@link #enter} returns while there is no hook. */
  public static final long NONE = -1;

  private HookThread() {}

  /**
   * Options for the attention inside whatever this thread runs until {@link #leave}.
   *
   * @param options how to compute it
   * @param rules in the order in which they are read
   * @return for {@link #leave}
   */
  public static long enter(AttentionOptions options, List<HookPolicy.Rule> rules) {
    return TorchHook.isInstalled()
        ? HookLibrary.enterScope(HookPolicy.encode(options, rules))
        : NONE;
  }

  /**
   * Back to what counted before {@link #enter}; on the same thread, the innermost first.
   *
   * @param entered what {@link #enter} returned
   */
  public static void leave(long entered) {
    if (entered != NONE) {
      HookLibrary.leaveScope(entered);
    }
  }

  /**
   * Whether this thread's calls go to PyTorch untouched.
   *
   * @param passing true to let calls through
   * @return what counted before
   */
  public static boolean setPassing(boolean passing) {
    return TorchHook.isInstalled() && HookLibrary.setPassing(passing);
  }
}
