package org.attn4j.backend;

import org.attn4j.SdpaBackend;

/** Which backend serves a request, and what it planned for it. Found once per request. Internal. */
public final class Plan {
  private final AttentionBackend backend;
  private final Support answer;

  Plan(AttentionBackend backend, Support answer) {
    this.backend = backend;
    this.answer = answer;
  }

  /** The backend that serves. */
  public SdpaBackend backend() {
    return backend.name();
  }

  /** Bytes of device memory; 0 is possible. */
  public long workspaceBytes() {
    return answer.workspaceBytes();
  }

  AttentionBackend implementation() {
    return backend;
  }

  Support answer() {
    return answer;
  }
}
