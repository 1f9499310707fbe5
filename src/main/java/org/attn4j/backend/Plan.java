package org.attn4j.backend;

import org.attn4j.SdpaBackend;

/**
 * Which backend serves a request, and what it planned for it. Found once per request; where a call
 * site decides between SpargeAttn and the others, once for each. Internal.
 */
public final class Plan {
  private final AttentionBackend backend;
  private final Support answer;
  private final CallSite site;

  // What serves if the site decides otherwise; null until it does. A race makes two equal ones.
  private volatile Plan other;
  private volatile boolean decided; // for a call that hasn't run yet

  /**
   * @param site decides for each call whether sparge serves, and has decided the first; or null
   */
  Plan(AttentionBackend backend, Support answer, CallSite site) {
    this.backend = backend;
    this.answer = answer;
    this.site = site;
    decided = site != null;
  }

  /** The call site that decides for each call; null: nothing is to be decided. */
  CallSite site() {
    return site;
  }

  /** Whether the next call is decided already; true once. */
  boolean takeDecision() {
    boolean taken = decided;
    decided = false;
    return taken;
  }

  /** Keeps what serves if the site decides otherwise. */
  void other(Plan plan) {
    other = plan;
    plan.other = this;
    plan.decided = false;
  }

  Plan other() {
    return other;
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
