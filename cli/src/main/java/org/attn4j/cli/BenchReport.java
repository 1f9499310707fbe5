package org.attn4j.cli;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Set;
import org.attn4j.cli.bench.Measurement;
import org.attn4j.cli.chart.Figure;
import org.attn4j.cli.chart.Figure.Kind;
import org.attn4j.cli.chart.Figure.Panel;
import org.attn4j.cli.chart.Figure.Scale;
import org.attn4j.cli.chart.Figure.Series;
import org.attn4j.cli.chart.Figure.Tone;

/** What was measured: as a table, as JSON, as a figure. */
final class BenchReport {
  private static final String PEER = "pytorch";

  private record Row(Shape shape, String server, Measurement time, double tops) {}

  private final String machine;
  private final ElementType dtype;
  private final boolean causal;
  private final String date = LocalDate.now(ZoneOffset.UTC).toString();
  private final List<Row> rows = new ArrayList<>();

  BenchReport(String machine, ElementType dtype, boolean causal) {
    this.machine = machine;
    this.dtype = dtype;
    this.causal = causal;
  }

  void add(Shape shape, String server, Measurement time) {
    rows.add(new Row(shape, server, time, shape.operations(causal) / time.median() / 1e6));
  }

  boolean isEmpty() {
    return rows.isEmpty();
  }

  /** The table; its last column is how many times as fast as PyTorch. */
  List<String> lines() {
    List<String> lines = new ArrayList<>();
    lines.add(machine + ", " + dtype.id() + (causal ? ", causal" : "") + ", " + date);
    lines.add(
        String.format(
            "%-22s %-12s %12s %12s %9s %9s",
            "shape", "backend", "us", "least us", "TOPS", "x torch"));
    for (Row row : rows) {
      lines.add(
          String.format(
              Locale.ROOT,
              "%-22s %-12s %12.1f %12.1f %9.3f %9s",
              row.shape().name(),
              row.server(),
              row.time().median(),
              row.time().least(),
              row.tops(),
              overPeer(row).map(x -> String.format(Locale.ROOT, "%.2f", x)).orElse("")));
    }
    return lines;
  }

  private Optional<Double> overPeer(Row row) {
    return rows.stream()
        .filter(other -> other.shape().equals(row.shape()) && other.server().equals(PEER))
        .filter(other -> !row.server().equals(PEER))
        .map(other -> other.time().median() / row.time().median())
        .findFirst();
  }

  /** In the form of bench/results. */
  String json() {
    JsonObject report = new JsonObject();
    report.addProperty("what", "attention, calls back to back until the last is done");
    report.addProperty("device", machine);
    report.addProperty("java", System.getProperty("java.version"));
    report.addProperty("attn4j", Attn4jCommand.Version.version());
    report.addProperty("date", date);
    JsonArray all = new JsonArray();
    for (Row row : rows) {
      JsonObject json = new JsonObject();
      json.addProperty("shape", row.shape().name());
      json.addProperty("b", row.shape().batch());
      json.addProperty("hq", row.shape().heads());
      json.addProperty("hkv", row.shape().headsKv());
      json.addProperty("lq", row.shape().queries());
      json.addProperty("lk", row.shape().keys());
      json.addProperty("d", row.shape().headDim());
      json.addProperty("causal", causal ? 1 : 0);
      json.addProperty("dtype", dtype.id());
      json.addProperty("server", row.server());
      json.addProperty("us", rounded(row.time().median()));
      json.addProperty("us_least", rounded(row.time().least()));
      json.addProperty("rounds", row.time().rounds());
      json.addProperty("calls", row.time().calls());
      json.addProperty("tops", rounded(row.tops()));
      all.add(json);
    }
    report.add("rows", all);
    return report.toString();
  }

  private static double rounded(double value) {
    return Math.round(value * 1e4) / 1e4;
  }

  /** Bars of TOPS by shape. */
  Figure figure() {
    Set<String> shapes = new LinkedHashSet<>();
    Set<String> servers = new LinkedHashSet<>();
    for (Row row : rows) {
      shapes.add(row.shape().name());
      servers.add(row.server());
    }
    List<Tone> tones = List.of(Tone.OURS, Tone.SECOND, Tone.THIRD, Tone.FOURTH, Tone.OTHER_PEER);
    List<Series> series = new ArrayList<>();
    for (String server : servers) {
      List<Double> tops = new ArrayList<>();
      for (String shape : shapes) {
        tops.add(
            rows.stream()
                .filter(row -> row.shape().name().equals(shape) && row.server().equals(server))
                .map(Row::tops)
                .findFirst()
                .orElse(null));
      }
      Tone tone = server.equals(PEER) ? Tone.PEER : tones.get(series.size() % tones.size());
      series.add(new Series(server, tone, List.copyOf(shapes), tops));
    }
    return new Figure(
        "Attention, " + dtype.id() + (causal ? ", causal" : ""),
        machine + ", " + date + ", attn4j " + Attn4jCommand.Version.version(),
        "TOPS",
        Scale.LINEAR,
        List.of(new Panel("", "shape", Kind.BARS, series)));
  }
}
