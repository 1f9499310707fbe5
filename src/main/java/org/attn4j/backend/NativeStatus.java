package org.attn4j.backend;

import java.util.List;
import org.attn4j.CudaException;
import org.attn4j.InvalidAttentionArgumentException;
import org.attn4j.UnsupportedAttentionException;
import org.attn4j.WorkspaceTooSmallException;
import org.attn4j.natives.global.attn4j;

/** Turns a native status other than kOk into its exception. Internal. */
public final class NativeStatus {
  private NativeStatus() {}

  /** The exception of a status, with the sentence that the native library left for it. */
  public static RuntimeException exception(int status, String message) {
    return switch (status) {
      case attn4j.kInvalidArgument -> new InvalidAttentionArgumentException(message);
      case attn4j.kUnsupported -> new UnsupportedAttentionException(message, List.of());
      case attn4j.kWorkspaceTooSmall -> new WorkspaceTooSmallException(message);
      case attn4j.kCudaError -> new CudaException(message);
      default -> new CudaException("unknown status " + status + ": " + message);
    };
  }
}
