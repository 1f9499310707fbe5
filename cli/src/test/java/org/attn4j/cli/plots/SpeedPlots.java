package org.attn4j.cli.plots;

import com.google.gson.JsonObject;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import org.attn4j.cli.chart.Figure;
import org.attn4j.cli.chart.Figure.Kind;
import org.attn4j.cli.chart.Figure.Panel;
import org.attn4j.cli.chart.Figure.Scale;
import org.attn4j.cli.chart.Figure.Series;
import org.attn4j.cli.chart.Figure.Tone;

/** How fast dense attention is beside its peers. */
final class SpeedPlots {
  private static final List<Integer> LENGTHS = List.of(1024, 2048, 4096, 8192, 16384, 32768);

  private record Server(String kernel, String name, Tone tone) {}

  private static final List<Server> SERVERS =
      List.of(
          new Server("sage", "sageattn", Tone.OURS),
          new Server("exact", "exact_attn", Tone.SECOND),
          new Server("int8_f16", "INT8 QK, 16-bit PV", Tone.THIRD),
          new Server("cudnn", "cuDNN", Tone.PEER),
          new Server("flash2", "FlashAttention-2", Tone.OTHER_PEER));

  private final Path results;

  SpeedPlots(Path results) {
    this.results = results;
  }

  Map<String, Figure> figures() throws IOException {
    Map<String, Figure> figures = new LinkedHashMap<>();
    figures.put("speed-lengths", lengths(0));
    figures.put("speed-causal", lengths(1));
    figures.put("speed-models", models());
    figures.put("speed-mma", mma());
    figures.put("speed-decode", decode());
    figures.put("speed-pytorch", dropIn());
    return figures;
  }

  private Figure lengths(int causal) throws IOException {
    Results dense = Results.read(results, "dense-h200");
    List<Panel> panels = new ArrayList<>();
    for (int d : List.of(128, 96, 64)) {
      List<Series> series = new ArrayList<>();
      for (Server server : SERVERS) {
        List<Double> tops = new ArrayList<>();
        for (int length : LENGTHS) {
          Map<String, Object> entries =
              Map.of(
                  "shape",
                  "dense",
                  "kernel",
                  server.kernel(),
                  "d",
                  d,
                  "lq",
                  length,
                  "lk",
                  length,
                  "causal",
                  causal);
          tops.add(Results.number(dense.rows(), entries, "tops"));
        }
        if (tops.stream().anyMatch(Objects::nonNull)) {
          series.add(new Series(server.name(), server.tone(), lengthNames(), tops));
        }
      }
      if (!series.isEmpty()) {
        panels.add(new Panel("head_dim " + d, "tokens", Kind.LINES, series));
      }
    }
    String title =
        causal == 1
            ? "Dense attention with a causal mask: half of the operations count"
            : "Dense attention, quantisation included: speed against length";
    return new Figure(
        title, dense.source() + ", batch 4, 32 heads, FP16", "TOPS", Scale.LINEAR, panels);
  }

  private static List<String> lengthNames() {
    return LENGTHS.stream().map(length -> length / 1024 + "K").toList();
  }

  private Figure models() throws IOException {
    Results dense = Results.read(results, "dense-h200");
    Map<String, String> shapes = new LinkedHashMap<>();
    shapes.put("sdxl_self4096", "SDXL self");
    shapes.put("sdxl_cross77", "SDXL cross");
    shapes.put("sd15_40", "SD 1.5");
    shapes.put("flux", "Flux");
    shapes.put("wan_480p", "Wan 480p");
    shapes.put("cogvideox", "CogVideoX");
    shapes.put("gqa", "GQA 32/8");
    List<Series> series = new ArrayList<>();
    for (Server server : SERVERS) {
      if (server.kernel().equals("int8_f16")) {
        continue;
      }
      List<Double> tops = new ArrayList<>();
      for (String shape : shapes.keySet()) {
        Map<String, Object> entries = Map.of("shape", shape, "kernel", server.kernel());
        tops.add(Results.number(dense.rows(), entries, "tops"));
      }
      series.add(new Series(server.name(), server.tone(), List.copyOf(shapes.values()), tops));
    }
    return new Figure(
        "Shapes of real models, dense, quantisation included",
        dense.source() + ", FP16",
        "TOPS",
        Scale.LINEAR,
        List.of(new Panel("", "shape", Kind.BARS, series)));
  }

  private Figure mma() throws IOException {
    Results mma = Results.read(results, "mma-h200");
    List<Integer> heads = List.of(128, 96, 64);
    List<Series> series = new ArrayList<>();
    for (Server server :
        List.of(
            new Server("int8", "INT8 QK, 16-bit PV", Tone.OURS),
            new Server("exact", "exact_attn", Tone.SECOND),
            new Server("flash2", "FlashAttention-2 (mma.sync too)", Tone.OTHER_PEER),
            new Server("cudnn", "cuDNN (wgmma)", Tone.PEER))) {
      List<Double> tops = new ArrayList<>();
      for (int d : heads) {
        Map<String, Object> entries =
            Map.of("kernel", server.kernel(), "b", 4, "h", 32, "d", d, "l", 8192, "causal", 0);
        tops.add(Results.number(mma.rows(), entries, "tops"));
      }
      series.add(new Series(server.name(), server.tone(), heads, tops));
    }
    return new Figure(
        "The kernels for every GPU (mma.sync), compiled for and run on Hopper",
        mma.source() + ", batch 4, 32 heads, 8192 tokens, FP16",
        "TOPS",
        Scale.LINEAR,
        List.of(new Panel("", "head_dim", Kind.BARS, series)));
  }

  private Figure decode() throws IOException {
    Results decode = Results.read(results, "decode-h200");
    Map<String, List<Double>> times = new LinkedHashMap<>();
    for (String key : List.of("auto", "cudnn", "flash")) {
      times.put(key, new ArrayList<>());
    }
    List<String> shapes = new ArrayList<>();
    for (JsonObject row : decode.rows()) {
      shapes.add(
          "%sx%s/%s: %s/%s"
              .formatted(
                  text(row, "b"),
                  text(row, "hq"),
                  text(row, "hkv"),
                  text(row, "lq"),
                  text(row, "lk")));
      times.forEach((key, list) -> list.add(row.get(key).getAsDouble()));
    }
    List<Series> series =
        List.of(
            new Series("sageattn", Tone.OURS, shapes, times.get("auto")),
            new Series("cuDNN", Tone.PEER, shapes, times.get("cudnn")),
            new Series("FlashAttention-2", Tone.OTHER_PEER, shapes, times.get("flash")));
    return new Figure(
        "Few queries on many keys",
        decode.source() + ", FP16",
        "microseconds per call, logarithmic",
        Scale.LOGARITHMIC,
        List.of(new Panel("", "batch x heads (q/kv): queries / keys", Kind.BARS, series)));
  }

  private static String text(JsonObject row, String key) {
    return Results.text(row, key);
  }

  private Figure dropIn() throws IOException {
    Results torch = Results.read(results, "pytorch-h200");
    Map<String, String> shapes = new LinkedHashMap<>();
    shapes.put("sdxl_self4096", "SDXL self");
    shapes.put("flux", "Flux");
    shapes.put("wan_480p", "Wan 480p");
    shapes.put("cogvideox", "CogVideoX");
    List<Series> series = new ArrayList<>();
    for (Server server :
        List.of(
            new Server("auto", "the drop-in", Tone.OURS),
            new Server("sparge_topk_0.5", "the drop-in, SpargeAttn with half left out", Tone.THIRD),
            new Server("pytorch", "PyTorch", Tone.PEER))) {
      List<Double> times = new ArrayList<>();
      for (String shape : shapes.keySet()) {
        Map<String, Object> entries = Map.of("shape", shape, "server", server.kernel());
        Double us = Results.number(torch.rows(), entries, "us");
        times.add(us == null ? null : us / 1e3);
      }
      series.add(new Series(server.name(), server.tone(), List.copyOf(shapes.values()), times));
    }
    return new Figure(
        "One attention call from Java on PyTorch's tensors",
        torch.source() + ", FP16",
        "milliseconds per call, logarithmic",
        Scale.LOGARITHMIC,
        List.of(new Panel("", "shape", Kind.BARS, series)));
  }
}
