package org.attn4j;

/** How strictly {@link AttentionOptions#backend()} is meant. */
public enum BackendMode {
  /**
   * Start with the chosen backend and go on down the chain until one serves the request. Never up:
   * who asks for the exact kernel doesn't get a quantised one.
   */
  PREFER,
  /**
   * The chosen backend serves, or the call throws {@link UnsupportedAttentionException} with the
   * reason. With {@link SdpaBackend#AUTO} one of the quantised backends (sparge, sage) has to
   * serve.
   */
  REQUIRE,
  /**
   * The quantised backends (sparge, sage) are off for this call, as {@code
   * LD_DISABLE_SAGE_ATTENTION=1} does for the whole process; the rest of the chain serves. Choosing
   * a quantised backend together with OFF is a contradiction and refused.
   */
  OFF
}
