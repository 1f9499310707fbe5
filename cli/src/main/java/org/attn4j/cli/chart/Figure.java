package org.attn4j.cli.chart;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonPrimitive;
import com.google.gson.JsonSerializer;
import java.math.BigDecimal;
import java.math.MathContext;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.List;

/**
 * What a picture shows: panels side by side under one title, with one legend.
 *
 * @param title what was measured
 * @param source on which device, when, and where the numbers are
 * @param yTitle what the vertical axes show, with its unit
 * @param y how the vertical axes run; the same in all panels
 * @param panels the panels, from left to right
 */
public record Figure(String title, String source, String yTitle, Scale y, List<Panel> panels) {
  // Six digits are more than a picture shows. What Double.toString writes differs between JDKs.
  private static final Gson GSON =
      new GsonBuilder()
          .registerTypeAdapter(
              Double.class,
              (JsonSerializer<Double>)
                  (value, type, context) ->
                      new JsonPrimitive(
                          new BigDecimal(value).round(new MathContext(6)).toPlainString()))
          .create();

  /** How series are drawn. */
  public enum Kind {
    /** One point for each category, joined. */
    LINES,
    /** One bar for each category and series. */
    BARS,
    /** Points at numbers, joined in their order. */
    CURVES,
    /** Points at numbers. */
    POINTS
  }

  /** A vertical axis. */
  public enum Scale {
    LINEAR,
    LOGARITHMIC
  }

  /** Whose numbers a series holds: what stands out, and what is the same colour everywhere. */
  public enum Tone {
    OURS,
    SECOND,
    THIRD,
    FOURTH,
    PEER,
    OTHER_PEER
  }

  /**
   * One diagram.
   *
   * @param title what is particular to it; may be empty
   * @param xTitle what the horizontal axis shows
   * @param kind how all of its series are drawn
   * @param series at least one
   */
  public record Panel(String title, String xTitle, Kind kind, List<Series> series) {}

  /**
   * One set of values.
   *
   * @param name the same in every panel
   * @param tone its colour
   * @param x categories, or numbers where the kind is {@link Kind#CURVES} or {@link Kind#POINTS}
   * @param y one value for each x; null where nothing was measured
   */
  public record Series(String name, Tone tone, List<?> x, List<Double> y) {
    /** Checks that there are as many values as places. */
    public Series {
      if (x.isEmpty() || x.size() != y.size()) {
        throw new IllegalArgumentException(
            "the series %s has %d places and %d values; as many are accepted, at least one"
                .formatted(name, x.size(), y.size()));
      }
    }
  }

  /** Everything that is drawn, as SHA-256 in hexadecimal digits. */
  public String digest() {
    try {
      byte[] data = GSON.toJson(this).getBytes(StandardCharsets.UTF_8);
      return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(data));
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every JDK has SHA-256", e);
    }
  }
}
