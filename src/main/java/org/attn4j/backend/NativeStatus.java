package org.attn4j.backend;

import java.util.List;
import org.attn4j.CudaException;
import org.attn4j.InvalidAttentionArgumentException;
import org.attn4j.UnsupportedAttentionException;
import org.attn4j.WorkspaceTooSmallException;

/** Turns a native status other than kOk into its exception. Internal. */
public final class NativeStatus {
  // The values of Status in attn4j.h.
  /** The call was enqueued. */
  public static final int OK = 0;

  static final int INVALID_ARGUMENT = 1;
  static final int UNSUPPORTED = 2;
  static final int WORKSPACE_TOO_SMALL = 3;
  static final int CUDA_ERROR = 4;

  private NativeStatus() {}

  /** The exception of a status, with the sentence that the native library left for it. */
  public static RuntimeException exception(int status, String message) {
    return switch (status) {
      case INVALID_ARGUMENT -> new InvalidAttentionArgumentException(message);
      case UNSUPPORTED -> new UnsupportedAttentionException(message, List.of());
      case WORKSPACE_TOO_SMALL -> new WorkspaceTooSmallException(message);
      case CUDA_ERROR -> new CudaException(message);
      default -> new CudaException("unknown status " + status + ": " + message);
    };
  }
}
