package org.attn4j.platform;

/**
 * {@link org.attn4j.Doctor} for {@code java -jar}: says what attn4j finds on this machine, what it
 * makes of it and why.
 */
public final class Doctor {
  private static final int UNUSABLE = 2;

  private Doctor() {}

  /** Prints the report to stdout. The exit status is 0 if a GPU backend is ready, else 1. */
  public static void main(String[] args) {
    try {
      org.attn4j.Doctor.main(args);
    } catch (NoClassDefFoundError e) {
      // The manifest names lib/, which a build has and a repository of artifacts hasn't.
      System.err.printf(
          "%s is not on the class path: java -jar works where the JARs that this one depends on are beside it in lib/;"
              + " elsewhere run java -cp CLASSPATH org.attn4j.Doctor with the class path of your program%n",
          e.getMessage().replace('/', '.'));
      System.exit(UNUSABLE);
    }
  }
}
