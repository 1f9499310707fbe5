package org.attn4j.backend;

/** A backend's answer to a request. Immutable. */
final class Support {
  private final String sentence; // null: the plan has it
  private final boolean supported;
  private final boolean elsewhere;
  private final long workspaceBytes;
  private final NativePlan plan;
  private final CallSite site;

  private Support(
      boolean supported,
      boolean elsewhere,
      String sentence,
      long workspaceBytes,
      NativePlan plan,
      CallSite site) {
    this.supported = supported;
    this.elsewhere = elsewhere;
    this.sentence = sentence;
    this.workspaceBytes = workspaceBytes;
    this.plan = plan;
    this.site = site;
  }

  static Support refused(String reason) {
    return new Support(false, false, reason, 0, null, null);
  }

  /** Refuses because the request's memory is of the other kind, which surprises nobody. */
  static Support elsewhere(String reason) {
    return new Support(false, true, reason, 0, null, null);
  }

  static Support served(String what, long workspaceBytes) {
    return new Support(true, false, what, workspaceBytes, null, null);
  }

  static Support served(NativePlan plan) {
    return new Support(true, false, null, plan.workspaceBytes(), plan, null);
  }

  /** The same, decided by what is known of a call site; null: by none. */
  Support at(CallSite where) {
    return where == null
        ? this
        : new Support(supported, elsewhere, sentence, workspaceBytes, plan, where);
  }

  /** The same, with a phrase more. */
  Support with(String phrase) {
    String all = reason() + "; " + phrase;
    return new Support(supported, elsewhere, all, workspaceBytes, plan, site);
  }

  /** Whether it serves. */
  boolean supported() {
    return supported;
  }

  /** Whether it refuses because the request's memory is of the other kind. */
  boolean elsewhere() {
    return elsewhere;
  }

  /** One sentence: what would run, or why it doesn't serve. */
  String reason() {
    return sentence != null ? sentence : plan.description();
  }

  /** The scratch memory that the call needs; 0 if it doesn't serve. */
  long workspaceBytes() {
    return workspaceBytes;
  }

  /** The call site whose calls decide anew each time; null: none. */
  CallSite site() {
    return site;
  }

  /** What a GPU backend planned; null for others. */
  NativePlan plan() {
    return plan;
  }
}
