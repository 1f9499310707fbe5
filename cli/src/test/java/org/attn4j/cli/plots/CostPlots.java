package org.attn4j.cli.plots;

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

/** What a call costs the host. */
final class CostPlots {
  private final Path results;

  CostPlots(Path results) {
    this.results = results;
  }

  Map<String, Figure> figures() throws IOException {
    Results cost = Results.read(results, "host-cost-h200");
    Map<String, String> backends = new LinkedHashMap<>();
    backends.put("exact", "exact");
    backends.put("sage/AUTO", "sageattn");
    backends.put("sage/QK_INT8_PV_FP8_SM90", "INT8/FP8");
    backends.put("sage/QK_INT8_PV_FP16", "INT8/16-bit");
    List<Panel> panels = new ArrayList<>();
    for (String request : List.of("reused request", "fresh request")) {
      List<Series> series = new ArrayList<>();
      series.add(series(cost, backends, request, "29257dd", "with plans (29257dd)", Tone.OURS));
      series.add(series(cost, backends, request, "e6e7873", "before (e6e7873)", Tone.OTHER_PEER));
      panels.add(new Panel(request, "kernel", Kind.BARS, series));
    }
    return Map.of(
        "host-cost",
        new Figure(
            "What one call from Java costs the host, launches included",
            cost.source(),
            "microseconds, median",
            Scale.LINEAR,
            panels));
  }

  private static Series series(
      Results cost,
      Map<String, String> backends,
      String request,
      String build,
      String name,
      Tone tone) {
    List<Double> times = new ArrayList<>();
    for (String backend : backends.keySet()) {
      Map<String, Object> entries = Map.of("build", build, "backend", backend, "request", request);
      times.add(Results.number(cost.rows(), entries, "median_us_per_call"));
    }
    return new Series(name, tone, List.copyOf(backends.values()), times);
  }
}
