package org.attn4j.server;

import com.google.gson.JsonObject;

/** Why a request is not served: an answer of type application/problem+json (RFC 9457). */
public final class Problem extends RuntimeException {
  static final String CONTENT_TYPE = "application/problem+json";

  private static final long serialVersionUID = 1;

  private final int status;
  private final String title;
  private final long retryAfterSeconds; // 0: coming again doesn't help

  private Problem(int status, String title, String detail, long retryAfterSeconds) {
    super(detail);
    this.status = status;
    this.title = title;
    this.retryAfterSeconds = retryAfterSeconds;
  }

  static Problem badRequest(String detail) {
    return new Problem(400, "Bad Request", detail, 0);
  }

  static Problem forbidden(String detail) {
    return new Problem(403, "Forbidden", detail, 0);
  }

  static Problem notFound(String detail) {
    return new Problem(404, "Not Found", detail, 0);
  }

  static Problem methodNotAllowed(String detail) {
    return new Problem(405, "Method Not Allowed", detail, 0);
  }

  static Problem tooLarge(String detail) {
    return new Problem(413, "Content Too Large", detail, 0);
  }

  static Problem mediaType(String detail) {
    return new Problem(415, "Unsupported Media Type", detail, 0);
  }

  /** The request is well-formed, and this machine can't do it. */
  static Problem notHere(String detail) {
    return new Problem(422, "Unprocessable Content", detail, 0);
  }

  static Problem internal() {
    return new Problem(
        500, "Internal Server Error", "the server failed on this request; its log says why", 0);
  }

  static Problem unavailable(String detail) {
    return new Problem(503, "Service Unavailable", detail, 0);
  }

  static Problem busy(String detail, long retryAfterSeconds) {
    return new Problem(503, "Service Unavailable", detail, retryAfterSeconds);
  }

  static Problem timeout(String detail) {
    return new Problem(504, "Gateway Timeout", detail, 0);
  }

  int status() {
    return status;
  }

  /** Seconds after which the request may be sent again; 0 if that doesn't help. */
  long retryAfterSeconds() {
    return retryAfterSeconds;
  }

  JsonObject toJson() {
    JsonObject json = new JsonObject();
    json.addProperty("type", "about:blank");
    json.addProperty("title", title);
    json.addProperty("status", status);
    json.addProperty("detail", getMessage());
    return json;
  }
}
