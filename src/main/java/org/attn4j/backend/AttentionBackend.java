package org.attn4j.backend;

import org.attn4j.AttentionRequest;
import org.attn4j.BackendInfo;
import org.attn4j.SdpaBackend;

/** One place of the chain. A backend serves a request exactly as it is, or says why not. */
interface AttentionBackend {
  /** Which backend this is. */
  SdpaBackend name();

  /** Whether this process can use the backend at all. Never throws. */
  BackendInfo info();

  /** Whether it serves this request. Enqueues nothing and reads no device memory. */
  Support supports(AttentionRequest request);

  /**
   * As {@link #supports}, for a call that is about to run: a backend that learns from its calls
   * decides this one, and counts it.
   */
  default Support plan(AttentionRequest request) {
    return supports(request);
  }

  /**
   * Serves a request that {@link #supports} accepted, with its answer. GPU backends make no
   * garbage.
   */
  void run(AttentionRequest request, Support answer);
}
