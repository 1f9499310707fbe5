package org.attn4j.distributed;

/** Says in which entry two descriptions of the form {@code name=value, name=value} differ. */
final class Difference {
  private static final String SEPARATOR = ", ";

  private Difference() {}

  static String sentence(int mine, String text, int other, String theirs) {
    String[] here = text.split(SEPARATOR);
    String[] there = theirs.split(SEPARATOR);
    for (int i = 0; i < Math.min(here.length, there.length); i++) {
      if (!here[i].equals(there[i])) {
        return "rank " + mine + " has " + here[i] + " and rank " + other + " has " + there[i];
      }
    }
    return "rank " + mine + " has [" + text + "] and rank " + other + " has [" + theirs + "]";
  }
}
