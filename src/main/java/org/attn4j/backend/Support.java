package org.attn4j.backend;

/**
 * A backend's answer to a request.
 *
 * @param supported whether it serves
 * @param reason one sentence: what would run, or why it doesn't serve
 * @param workspaceBytes the scratch memory that the call needs; 0 if it doesn't serve
 */
record Support(boolean supported, String reason, long workspaceBytes) {
  static Support refused(String reason) {
    return new Support(false, reason, 0);
  }

  static Support served(String what, long workspaceBytes) {
    return new Support(true, what, workspaceBytes);
  }
}
