package org.attn4j.cli.plots;

import com.google.gson.JsonObject;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalDouble;
import java.util.function.Predicate;
import java.util.function.ToDoubleFunction;
import org.attn4j.cli.chart.Figure;
import org.attn4j.cli.chart.Figure.Kind;
import org.attn4j.cli.chart.Figure.Panel;
import org.attn4j.cli.chart.Figure.Scale;
import org.attn4j.cli.chart.Figure.Series;
import org.attn4j.cli.chart.Figure.Tone;

/** How large the errors are, on which data. */
final class AccuracyPlots {
  private final Path results;

  AccuracyPlots(Path results) {
    this.results = results;
  }

  Map<String, Figure> figures() throws IOException {
    Map<String, Figure> figures = new LinkedHashMap<>();
    figures.put("accuracy-kernels", kernels());
    figures.put("accuracy-hard", hard());
    return figures;
  }

  private Figure kernels() throws IOException {
    Results dense = Results.read(results, "dense-h200");
    Map<String, String> data = new LinkedHashMap<>();
    data.put("randn", "N(0,1)");
    data.put("outlier", "large channel offsets in K");
    List<Panel> panels = new ArrayList<>();
    data.forEach(
        (key, title) ->
            panels.add(
                new Panel(
                    title,
                    "head_dim, type of the tensors",
                    Kind.BARS,
                    List.of(
                        errors(dense, key, "exact", "exact_attn", Tone.SECOND),
                        errors(dense, key, "int8_f16", "INT8 QK, 16-bit PV", Tone.THIRD),
                        errors(dense, key, "fp8_sm90", "INT8 QK, FP8 PV", Tone.OURS)))));
    return new Figure(
        "Error of the dense kernels against FP64",
        dense.source() + ", 4096 tokens",
        "relative L1, logarithmic",
        Scale.LOGARITHMIC,
        panels);
  }

  private static Series errors(Results dense, String data, String kernel, String name, Tone tone) {
    List<String> places = new ArrayList<>();
    List<Double> errors = new ArrayList<>();
    for (int d : List.of(64, 96, 128)) {
      for (String dtype : List.of("f16", "bf16")) {
        places.add(d + " " + dtype);
        Map<String, Object> entries =
            Map.of("kernel", kernel, "data", data, "d", d, "l", 4096, "causal", 0, "dtype", dtype);
        errors.add(Results.number(dense.rows("accuracy"), entries, "l1"));
      }
    }
    return new Series(name, tone, places, errors);
  }

  /** The largest error over all shapes of a kind of data, as a part of what the kernel may have. */
  private Figure hard() throws IOException {
    Results faults = Results.read(results, "faults-h200");
    Map<String, String> kinds = new LinkedHashMap<>();
    kinds.put("tail", "long tail");
    kinds.put("sinks", "sinks");
    kinds.put("small sinks", "small sinks");
    kinds.put("drift", "drift");
    kinds.put("constant", "constant V");
    List<JsonObject> rows =
        Results.all(faults.rows(), Map.of("kernel", "fp8_sm90")).stream()
            .filter(row -> row.get("l1_bar") != null && !row.get("l1_bar").isJsonNull())
            .toList();
    Map<String, String> measures = new LinkedHashMap<>();
    measures.put("l1", "relative L1");
    measures.put("bias", "bias");
    measures.put("lse", "log-sum-exp");
    List<Panel> panels = new ArrayList<>();
    measures.forEach(
        (measure, title) ->
            panels.add(
                new Panel(
                    title,
                    "data",
                    Kind.BARS,
                    List.of(
                        worst(rows, kinds, "after", measure, "now", Tone.OURS),
                        worst(rows, kinds, "before", measure, "before", Tone.OTHER_PEER)))));
    return new Figure(
        "INT8 QK, FP8 PV on hard data: the largest error over what is allowed (1)",
        faults.source(),
        "error / what is allowed",
        Scale.LINEAR,
        panels);
  }

  /** The largest of each kind; none where a build was not run on the kind. */
  private static Series worst(
      List<JsonObject> rows,
      Map<String, String> kinds,
      String build,
      String measure,
      String name,
      Tone tone) {
    List<Double> worst = new ArrayList<>();
    for (String kind : kinds.keySet()) {
      Predicate<JsonObject> ofKind =
          row -> Results.text(row, "data").equals(kind) && row.has(build);
      ToDoubleFunction<JsonObject> share =
          row ->
              Math.abs(row.getAsJsonObject(build).get(measure).getAsDouble())
                  / row.get(measure + "_bar").getAsDouble();
      OptionalDouble largest = rows.stream().filter(ofKind).mapToDouble(share).max();
      worst.add(largest.isPresent() ? largest.getAsDouble() : null);
    }
    return new Series(name, tone, List.copyOf(kinds.values()), worst);
  }
}
