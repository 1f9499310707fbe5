package org.attn4j.server;

import io.javalin.http.Context;
import java.net.URI;
import java.util.Locale;
import java.util.Set;

/**
 * Keeps other sites' pages from using this server through a visitor's browser: on loopback the name
 * asked for must be loopback's, and a request that another page sent is refused.
 */
final class Guard {
  private static final Set<String> LOOPBACK = Set.of("localhost", "127.0.0.1", "[::1]");

  private final boolean loopback;

  Guard(String host) {
    loopback = LOOPBACK.contains(host) || host.equals("::1");
  }

  /** Throws a {@link Problem} if the request isn't this server's own page's or a program's. */
  void check(Context ctx) {
    String asked = ctx.host() == null ? "" : ctx.host().toLowerCase(Locale.ROOT);
    String name = asked.replaceFirst(":\\d+$", "");
    if (loopback && !LOOPBACK.contains(name)) {
      throw Problem.forbidden(
          "the host is "
              + Parameters.shown(asked)
              + "; this server answers to localhost, 127.0.0.1 and [::1]");
    }
    String origin = ctx.header("Origin");
    if (origin != null && !asked.equals(authority(origin))) {
      throw Problem.forbidden(
          "the request comes from a page of "
              + Parameters.shown(origin)
              + "; only this server's own page is accepted");
    }
  }

  private static String authority(String origin) {
    try {
      String authority = URI.create(origin).getAuthority();
      return authority == null ? "" : authority.toLowerCase(Locale.ROOT);
    } catch (IllegalArgumentException e) {
      return "";
    }
  }
}
