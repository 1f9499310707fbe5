package org.attn4j.cli.plots;

import com.google.gson.JsonObject;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.attn4j.cli.chart.Figure;
import org.attn4j.cli.chart.Figure.Kind;
import org.attn4j.cli.chart.Figure.Panel;
import org.attn4j.cli.chart.Figure.Scale;
import org.attn4j.cli.chart.Figure.Series;
import org.attn4j.cli.chart.Figure.Tone;

/** What leaving blocks out brings, and what it costs in accuracy. */
final class SparsePlots {
  private static final String SHARE = "left out, per cent of all blocks";

  private final Path results;

  SparsePlots(Path results) {
    this.results = results;
  }

  Map<String, Figure> figures() throws IOException {
    Map<String, Figure> figures = new LinkedHashMap<>();
    figures.put("sparse-speed", speed());
    figures.put("sparse-error", error());
    figures.put("sparse-auto", auto());
    return figures;
  }

  private Figure speed() throws IOException {
    Results sparge = Results.read(results, "sparge-h200");
    List<Panel> panels = new ArrayList<>();
    for (int d : List.of(128, 64)) {
      List<Series> series = new ArrayList<>();
      for (int length : List.of(32768, 8192)) {
        boolean large = length == 32768;
        String tokens = length / 1024 + "K tokens";
        List<JsonObject> rows = Results.all(sparge.rows(), Map.of("d", d, "l", length));
        series.add(
            series(
                "SpargeAttn, " + tokens,
                large ? Tone.OURS : Tone.SECOND,
                starting(rows, "random block mask")));
        series.add(
            series(
                "dense, " + tokens, large ? Tone.PEER : Tone.OTHER_PEER, starting(rows, "dense")));
      }
      panels.add(new Panel("head_dim " + d, SHARE, Kind.CURVES, series));
    }
    return new Figure(
        "SpargeAttn over a caller's map: speed against what is left out",
        sparge.source() + ", batch 1, 32 heads, FP16, quantisation included",
        "TOPS of dense attention / time",
        Scale.LINEAR,
        panels);
  }

  private static List<JsonObject> starting(List<JsonObject> rows, String what) {
    return Results.sorted(
        rows.stream().filter(row -> Results.text(row, "what").startsWith(what)).toList(),
        row -> row.get("sparsity").getAsDouble());
  }

  private static Series series(String name, Tone tone, List<JsonObject> rows) {
    return new Series(
        name,
        tone,
        rows.stream().map(row -> row.get("sparsity").getAsDouble() * 100).toList(),
        rows.stream().map(row -> row.get("tops").getAsDouble()).toList());
  }

  private Figure error() throws IOException {
    Results sparge = Results.read(results, "sparge-h100");
    Map<String, Tone> orders = new LinkedHashMap<>();
    orders.put("hilbert", Tone.OURS);
    orders.put("tiles", Tone.SECOND);
    orders.put("raster", Tone.PEER);
    List<Series> field = new ArrayList<>();
    List<Series> picture = new ArrayList<>();
    orders.forEach(
        (order, tone) -> {
          add(field, order, tone, sparge.rows("orders"), "sparsity", 100);
          add(picture, order, tone, sparge.rows("demo"), "left_out_percent", 1);
        });
    return new Figure(
        "SpargeAttn: error against what is left out, by the order of the tokens",
        sparge.source("orders", "demo"),
        "relative L1 against exact attention",
        Scale.LINEAR,
        List.of(
            new Panel("a smooth field, 8 frames of 32 x 64 tokens", SHARE, Kind.POINTS, field),
            new Panel("the demo's picture, 256 x 256 pixels", SHARE, Kind.POINTS, picture)));
  }

  /** The rows of the sparse backend in one order: default, lower and tuned thresholds. */
  private static void add(
      List<Series> series,
      String order,
      Tone tone,
      List<JsonObject> rows,
      String share,
      double percent) {
    List<JsonObject> found =
        Results.sorted(
            Results.all(rows, Map.of("backend", "sparge", "order", order)),
            row -> row.get(share).getAsDouble());
    if (!found.isEmpty()) {
      series.add(
          new Series(
              order,
              tone,
              found.stream().map(row -> row.get(share).getAsDouble() * percent).toList(),
              found.stream().map(row -> row.get("l1").getAsDouble()).toList()));
    }
  }

  /** Times as ratios to the better of the two fixed choices, in a panel for each shape. */
  private Figure auto() throws IOException {
    Results auto = Results.read(results, "auto-h200");
    Map<String, List<JsonObject>> shapes = new LinkedHashMap<>();
    for (JsonObject row : auto.rows()) {
      String shape =
          "%s tokens, %s heads of %s"
              .formatted(
                  Results.text(row, "tokens"),
                  Results.text(row, "heads"),
                  Results.text(row, "head_dim"));
      shapes.computeIfAbsent(shape, key -> new ArrayList<>()).add(row);
    }
    List<Panel> panels = new ArrayList<>();
    shapes.forEach(
        (shape, rows) ->
            panels.add(
                new Panel(
                    shape,
                    "data",
                    Kind.BARS,
                    List.of(
                        toBetter("auto, later calls", Tone.OURS, rows, "auto_ms"),
                        toBetter("auto, first ten calls", Tone.SECOND, rows, "auto_first_ms"),
                        toBetter("always dense", Tone.PEER, rows, "sage_ms"),
                        toBetter("always SpargeAttn", Tone.OTHER_PEER, rows, "sparge_ms")))));
    return new Figure(
        "Auto mode beside the two fixed choices: time over that of the better one",
        auto.source() + ", FP16",
        "ratio of times, logarithmic",
        Scale.LOGARITHMIC,
        panels);
  }

  private static Series toBetter(String name, Tone tone, List<JsonObject> rows, String key) {
    List<Double> ratios = new ArrayList<>();
    for (JsonObject row : rows) {
      double dense = row.get("sage_ms").getAsDouble();
      double better = Math.min(dense, row.get("sparge_ms").getAsDouble());
      ratios.add(row.get(key).getAsDouble() / better);
    }
    List<String> data = rows.stream().map(row -> Results.text(row, "data")).toList();
    return new Series(name, tone, data, ratios);
  }
}
