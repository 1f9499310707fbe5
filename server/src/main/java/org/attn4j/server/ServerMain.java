package org.attn4j.server;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.logging.Level;
import java.util.logging.Logger;
import org.attn4j.Attention;

/** Starts the server; see {@code --help}. */
public final class ServerMain {
  private static final List<Logger> LOGGERS = new ArrayList<>();

  private ServerMain() {}

  /**
   * Serves until the process is stopped. Exit status 2: a wrong option. 1: the port can't be had.
   */
  public static void main(String... args) throws InterruptedException {
    if (List.of(args).contains("--help")) {
      System.out.println(ServerOptions.USAGE);
      return;
    }
    for (String chatty : new String[] {"io.javalin", "org.eclipse.jetty"}) {
      Logger logger = Logger.getLogger(chatty);
      logger.setLevel(Level.WARNING);
      LOGGERS.add(logger); // else it may be collected, and its level with it
    }
    ServerOptions options = null;
    try {
      options = ServerOptions.parse(args);
    } catch (IllegalArgumentException e) {
      System.err.println(e.getMessage() + System.lineSeparator() + ServerOptions.USAGE);
      System.exit(2);
    }
    try {
      AttnServer server = AttnServer.start(options);
      Runtime.getRuntime().addShutdownHook(new Thread(server::close));
      Attention.backends()
          .forEach(
              backend ->
                  System.out.println(
                      backend.name()
                          + (backend.ready() ? " serves: " : " stays out: ")
                          + backend.reason()));
      System.out.println("attn4j is at http://" + options.host() + ":" + server.port() + "/");
    } catch (IllegalStateException e) {
      System.err.println(e.getMessage());
      System.exit(1);
    }
    new CountDownLatch(1).await();
  }
}
