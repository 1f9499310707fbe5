package org.attn4j.server;

/** What {@code POST /api/generate} asks for. */
final class GenerateRequest {
  static final String WEIGHTS = "/org/attn4j/server/model/weights.bin";

  private GenerateRequest() {}

  /** Why no picture can be generated, or null. */
  static String obstacle() {
    return GenerateRequest.class.getResource(WEIGHTS) == null
        ? "the diffusion model's weights are missing: this build has no resource " + WEIGHTS
        : null;
  }
}
