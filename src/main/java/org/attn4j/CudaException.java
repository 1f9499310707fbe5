package org.attn4j;

/**
 * A CUDA call failed, or there is no GPU to call. The message is that of the native library: it
 * names the call and CUDA's own error text, or says why no GPU can be used.
 */
public final class CudaException extends IllegalStateException implements AttentionException {
  private static final long serialVersionUID = 1L;

  /**
   * Creates the exception with its sentence.
   *
   * @param message one sentence that says what was found and what is accepted
   */
  public CudaException(String message) {
    super(message);
  }
}
