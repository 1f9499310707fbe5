package org.attn4j.samples;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.attn4j.Attention;
import org.attn4j.BackendInfo;
import org.attn4j.SdpaBackend;

/**
 * Which backends the demo runs.
 *
 * @param chosen in the order of the chain
 * @param leftOut the other ones, each with the reason
 */
record BackendChoice(List<SdpaBackend> chosen, Map<String, String> leftOut) {

  /** A backend that was asked for by name can't run here. */
  static final class NotAvailableException extends RuntimeException {
    private static final long serialVersionUID = 1;

    NotAvailableException(String message) {
      super(message);
    }
  }

  /**
   * Those in {@code asked}, or, if it is empty, all that are ready: on the GPU, or on the CPU if
   * there is no GPU.
   */
  static BackendChoice of(List<String> asked) {
    List<BackendInfo> known = Attention.backends();
    return asked.isEmpty() ? allReady(known) : asFound(asked, known);
  }

  private static BackendChoice allReady(List<BackendInfo> known) {
    List<SdpaBackend> chosen = new ArrayList<>();
    Map<String, String> leftOut = new LinkedHashMap<>();
    for (BackendInfo info : known) {
      if (!info.ready()) {
        leftOut.put(info.name(), info.reason());
      } else if (backend(info) == SdpaBackend.CPU && !chosen.isEmpty()) {
        leftOut.put(info.name(), "the GPU serves; --backend cpu asks for it");
      } else {
        chosen.add(backend(info));
      }
    }
    return new BackendChoice(chosen, leftOut);
  }

  /** A line for each reason: who stays out, and why. */
  List<String> whyLeftOut() {
    Map<String, List<String>> namesByReason = new LinkedHashMap<>();
    leftOut.forEach(
        (name, reason) ->
            namesByReason.computeIfAbsent(reason, key -> new ArrayList<>()).add(name));
    List<String> lines = new ArrayList<>();
    namesByReason.forEach(
        (reason, names) ->
            lines.add(
                String.join(", ", names)
                    + (names.size() == 1 ? " stays out: " : " stay out: ")
                    + reason));
    return lines;
  }

  private static BackendChoice asFound(List<String> asked, List<BackendInfo> known) {
    List<SdpaBackend> chosen = new ArrayList<>();
    for (String name : asked) {
      BackendInfo info =
          known.stream()
              .filter(candidate -> candidate.name().equals(name))
              .findFirst()
              .orElseThrow(
                  () ->
                      new IllegalArgumentException(
                          "backend is "
                              + name
                              + "; known are "
                              + known.stream().map(BackendInfo::name).toList()));
      if (!info.ready()) {
        throw new NotAvailableException(name + " can't run here: " + info.reason());
      }
      chosen.add(backend(info));
    }
    return new BackendChoice(chosen, Map.of());
  }

  private static SdpaBackend backend(BackendInfo info) {
    return SdpaBackend.valueOf(info.name().toUpperCase(Locale.ROOT));
  }
}
