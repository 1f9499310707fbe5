package org.attn4j.server;

import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** The named values of a request. A {@link Problem} says what was found and what is accepted. */
final class Parameters {
  private final Map<String, String> given;

  private Parameters(Map<String, String> given) {
    this.given = given;
  }

  /** Takes names and values, and refuses names that aren't {@code known}. */
  static Parameters of(Map<String, String> given, List<String> known) {
    for (String name : given.keySet()) {
      if (!known.contains(name)) {
        throw Problem.badRequest(
            "the parameter " + shown(name) + " isn't known; known are " + String.join(", ", known));
      }
    }
    return new Parameters(given);
  }

  String text(String name, String otherwise) {
    return given.getOrDefault(name, otherwise);
  }

  int integer(String name, int otherwise, int least, int most) {
    return (int) whole(name, otherwise, least, most);
  }

  long whole(String name, long otherwise, long least, long most) {
    String text = given.get(name);
    if (text == null) {
      return otherwise;
    }
    try {
      long value = Long.parseLong(text);
      if (value >= least && value <= most) {
        return value;
      }
    } catch (NumberFormatException e) {
      // the sentence below says it
    }
    throw refused(name, text, "whole numbers from " + least + " to " + most + " are accepted");
  }

  double number(String name, double otherwise, double least, double most) {
    String text = given.get(name);
    if (text == null) {
      return otherwise;
    }
    try {
      double value = Double.parseDouble(text);
      if (value >= least && value <= most) { // NaN isn't
        return value;
      }
    } catch (NumberFormatException e) {
      // the sentence below says it
    }
    String range = String.format(Locale.ROOT, "numbers from %s to %s are accepted", least, most);
    throw refused(name, text, range);
  }

  String word(String name, String otherwise, Collection<String> accepted) {
    String text = given.getOrDefault(name, otherwise);
    if (!accepted.contains(text)) {
      throw refused(name, text, String.join(", ", accepted) + " are accepted");
    }
    return text;
  }

  static Problem refused(String name, String text, String accepted) {
    return Problem.badRequest(name + " is " + shown(text) + "; " + accepted);
  }

  /** Part of what a client sent, short enough for a sentence. */
  static String shown(String text) {
    String printable = text.replaceAll("\\p{Cntrl}", "?");
    if (printable.isEmpty()) {
      return "empty";
    }
    return printable.length() <= 40 ? printable : printable.substring(0, 37) + "...";
  }
}
