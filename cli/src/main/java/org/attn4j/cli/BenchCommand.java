package org.attn4j.cli;

import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.Callable;
import org.attn4j.UnsupportedAttentionException;
import org.attn4j.cli.Attn4jCommand.FailedException;
import org.attn4j.cli.Attn4jCommand.UsageException;
import org.attn4j.cli.bench.Measurement;
import org.attn4j.cli.bench.Measurement.Rounds;
import org.attn4j.cli.bench.Server;
import org.attn4j.cli.chart.FigureImage;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** Measures attention on this machine. */
@Command(
    name = "bench",
    description = {
      "Measures attention: backends of attn4j, and PyTorch if it is on the class path.",
      "Rounds of all take turns, the median counts. Times are those of calls back to back until the"
          + " last is done.",
      "Exit code 1: nothing could be measured, or a backend that was asked for doesn't serve."
    },
    mixinStandardHelpOptions = true)
final class BenchCommand implements Callable<Integer> {
  @Spec private CommandSpec spec;

  @Parameters(
      paramLabel = "SHAPE",
      arity = "0..*",
      converter = Shape.Converter.class,
      description =
          "BxHxLxD, BxHQ/HKVxLQ/LKxD, or a preset (see --list). Default: all presets on a GPU,"
              + " 1x8x512x64 on the CPU.")
  private List<Shape> shapes = new ArrayList<>();

  @Option(names = "--list", description = "Lists the presets and does nothing else.")
  private boolean list;

  @Option(
      names = "--backend",
      split = ",",
      paramLabel = "NAME",
      description =
          "auto, sage, exact, sparge:SHARE (computes that share of the blocks), cpu, pytorch."
              + " Default: all that serve.")
  private List<String> backends = new ArrayList<>();

  @Option(
      names = "--dtype",
      description = "fp16, bf16 or fp32 (default: fp16 on a GPU, fp32 on the CPU).")
  private ElementType dtype;

  @Option(names = "--causal", description = "With a causal mask, aligned at the top left.")
  private boolean causal;

  @Option(
      names = "--gpu",
      negatable = true,
      description = "On the GPU, or not (default: if there).")
  private Boolean gpu;

  @Option(names = "--device", defaultValue = "0", description = "The GPU's number (default: 0).")
  private int device;

  @Option(
      names = "--rounds",
      defaultValue = "7",
      description = "Rounds of each backend (default: ${DEFAULT-VALUE}).")
  private int rounds;

  @Option(
      names = "--seconds",
      defaultValue = "10",
      description = "After so many a shape gets no further round (default: ${DEFAULT-VALUE}).")
  private double seconds;

  @Option(names = "--json", paramLabel = "FILE", description = "Writes the results; - is stdout.")
  private String json;

  @Option(names = "--plot", paramLabel = "FILE", description = "Draws the results as PNG.")
  private Path plot;

  @Option(names = "--quiet", description = "No progress on stderr.")
  private boolean quiet;

  private Progress progress;
  private boolean onGpu;

  @Override
  public Integer call() throws IOException {
    PrintWriter out = spec.commandLine().getOut();
    if (list) {
      Shape.PRESETS.values().forEach(s -> out.printf("%-11s %s%n", s.name(), s.form()));
      return 0;
    }
    check();
    progress = new Progress(spec.commandLine().getErr(), quiet);
    onGpu = Machine.usesGpu(gpu, device);
    if (shapes.isEmpty()) {
      shapes = onGpu ? List.copyOf(Shape.PRESETS.values()) : List.of(Shape.parse("1x8x512x64"));
    }
    if (dtype == null) {
      dtype = onGpu ? ElementType.FP16 : ElementType.FP32;
    }
    BenchReport report =
        new BenchReport(onGpu ? Machine.gpuName(device) : Machine.cpuName(), dtype, causal);
    Servers servers = new Servers(onGpu ? device : -1, dtype.dtype(), causal, backends, progress);
    try {
      for (Shape shape : shapes) {
        measure(shape, servers, report);
      }
    } finally { // what was measured is there, whatever became of a later shape
      progress.done();
      if (!report.isEmpty()) {
        write(report, out);
      }
    }
    if (report.isEmpty()) {
      throw new FailedException("nothing was measured");
    }
    return 0;
  }

  private void check() {
    if (rounds < 1 || !(seconds > 0)) {
      throw new UsageException(
          "--rounds is %d and --seconds is %s; numbers above 0 are accepted"
              .formatted(rounds, seconds));
    }
    backends.forEach(Servers::requireKnown);
  }

  private void measure(Shape shape, Servers servers, BenchReport report) {
    List<Rounds> all = new ArrayList<>();
    try {
      for (String name : servers.names()) {
        progress.step(shape.name() + ": " + name + " warms up");
        try {
          Server server = servers.open(name, shape);
          Rounds each = new Rounds(server, rounds);
          all.add(each);
          each.warmUp();
        } catch (UnsupportedAttentionException e) {
          if (!backends.isEmpty()) {
            throw e;
          }
          progress.line(shape.name() + ": " + name + " stays out: " + e.getMessage());
        }
      }
      long end = System.nanoTime() + (long) (seconds * 1e9);
      progress.step(shape.name() + ": " + all.size() + " backends take turns");
      Measurement.takeTurns(all, rounds, () -> System.nanoTime() > end);
      for (Rounds each : all) {
        report.add(shape, each.server().name(), each.result());
      }
    } finally {
      all.forEach(each -> each.server().close());
    }
  }

  private void write(BenchReport report, PrintWriter out) throws IOException {
    boolean toStdout = "-".equals(json);
    if (toStdout) {
      out.println(report.json());
    } else {
      report.lines().forEach(out::println);
    }
    out.flush();
    if (json != null && !toStdout) {
      Files.writeString(Path.of(json), report.json() + System.lineSeparator());
      progress.line("results: " + json);
    }
    if (plot != null && !report.isEmpty()) {
      FigureImage.write(report.figure(), plot);
      progress.line("plot: " + plot);
    }
  }
}
