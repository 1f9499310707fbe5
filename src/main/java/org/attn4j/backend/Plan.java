package org.attn4j.backend;

import org.attn4j.SdpaBackend;

/**
 * Which backend serves a request, and the scratch memory that it needs. Found once per request.
 * Internal.
 */
public final class Plan {
  private final AttentionBackend backend;
  private final long workspaceBytes;

  Plan(AttentionBackend backend, long workspaceBytes) {
    this.backend = backend;
    this.workspaceBytes = workspaceBytes;
  }

  /** The backend that serves. */
  public SdpaBackend backend() {
    return backend.name();
  }

  /** Bytes of device memory; 0 is possible. */
  public long workspaceBytes() {
    return workspaceBytes;
  }

  AttentionBackend implementation() {
    return backend;
  }
}
