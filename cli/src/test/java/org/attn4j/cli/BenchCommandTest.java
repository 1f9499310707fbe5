package org.attn4j.cli;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import javax.imageio.ImageIO;
import org.attn4j.cli.bench.Measurement;
import org.attn4j.cli.bench.Measurement.Rounds;
import org.attn4j.cli.bench.Server;
import org.attn4j.cli.chart.FigureImage;
import org.attn4j.cli.chart.PngFile;
import org.testng.annotations.Test;

/** The measurements, on the CPU. */
public class BenchCommandTest {
  @Test
  public void measuresOursAndPyTorchAndDrawsThem() throws Exception {
    Path folder = Files.createTempDirectory("attn4j-bench");
    Path json = folder.resolve("results.json");
    Path plot = folder.resolve("new/plot.png");
    Ran ran =
        Ran.of(
            "bench",
            "1x2x64x32",
            "2x4/2x16/40x24",
            "--no-gpu",
            "--rounds",
            "2",
            "--causal",
            "--json",
            "" + json,
            "--plot",
            "" + plot);
    assertEquals(ran.status(), 0, ran.err());
    JsonObject report = JsonParser.parseString(Files.readString(json)).getAsJsonObject();
    JsonArray rows = report.getAsJsonArray("rows");
    assertEquals(
        Stream.of(0, 1, 2, 3)
            .map(i -> rows.get(i).getAsJsonObject())
            .map(row -> row.get("shape").getAsString() + " " + row.get("server").getAsString())
            .toList(),
        Stream.of(
                "1x2x64x32 cpu",
                "1x2x64x32 pytorch",
                "2x4/2x16/40x24 cpu",
                "2x4/2x16/40x24 pytorch")
            .toList());
    for (int i = 0; i < 4; i++) {
      JsonObject row = rows.get(i).getAsJsonObject();
      assertTrue(row.get("us").getAsDouble() >= row.get("us_least").getAsDouble(), "" + row);
      assertTrue(row.get("us_least").getAsDouble() > 0.1, "" + row);
      assertEquals(row.get("rounds").getAsInt(), 2);
      assertTrue(ran.out().contains(row.get("shape").getAsString()), ran.out());
    }
    assertTrue(PngFile.text(FigureImage.KEYWORD, plot).orElseThrow().matches("[0-9a-f]{64}"));
    assertTrue(ImageIO.read(plot.toFile()).getWidth() > 1000);
  }

  @Test
  public void askedForAloneCpuIsAlone() {
    Ran ran =
        Ran.of("bench", "1x1x8x8", "--no-gpu", "--backend", "cpu", "--rounds", "1", "--json", "-");
    assertEquals(ran.status(), 0, ran.err());
    JsonArray rows = JsonParser.parseString(ran.out()).getAsJsonObject().getAsJsonArray("rows");
    assertEquals(rows.size(), 1);
    assertEquals(rows.get(0).getAsJsonObject().get("dtype").getAsString(), "fp32");
  }

  @Test
  public void presetsAreListed() {
    Ran ran = Ran.of("bench", "--list");
    assertEquals(ran.status(), 0);
    assertTrue(ran.out().contains("flux        1x24x4608x128"), ran.out());
    assertTrue(ran.out().contains("decode      8x32/8x1/4097x128"), ran.out());
  }

  @Test
  public void operationsAreCountedPairByPair() {
    for (String text : new String[] {"1x1x5x2", "2x4/2x3/7x8", "1x3x7/3x4", "8x32/8x1/4097x128"}) {
      Shape shape = Shape.parse(text);
      double all = 0;
      double seen = 0;
      for (long i = 0; i < shape.queries(); i++) {
        for (long j = 0; j < shape.keys(); j++) {
          all++;
          seen += j <= i ? 1 : 0;
        }
      }
      double each = 4.0 * shape.batch() * shape.heads() * shape.headDim();
      assertEquals(shape.operations(false), each * all, text);
      assertEquals(shape.operations(true), each * seen, text);
      assertEquals(shape.form(), text);
    }
  }

  /** A server whose calls take a known time. */
  private static final class Sleeper implements Server {
    private int calls;

    @Override
    public String name() {
      return "sleeper";
    }

    @Override
    public void start(int call) {
      calls++;
      long end = System.nanoTime() + 2_000_000;
      while (System.nanoTime() < end) {
        Thread.onSpinWait();
      }
    }

    @Override
    public void await() {}

    @Override
    public void close() {}
  }

  @Test
  public void timesAreThoseOfTheServer() {
    Sleeper sleeper = new Sleeper();
    Rounds rounds = new Rounds(sleeper, 3);
    rounds.warmUp();
    int warm = sleeper.calls;
    Measurement.takeTurns(List.of(rounds), 3, () -> false);
    Measurement result = rounds.result();
    assertEquals(result.rounds(), 3);
    assertEquals(sleeper.calls - warm, 3 * result.calls());
    assertTrue(result.least() >= 2000, "" + result);
    assertTrue(result.calls() <= 10, "rounds of about 20 ms: " + result);
    Rounds late = new Rounds(sleeper, 3);
    late.warmUp();
    Measurement.takeTurns(List.of(late), 3, () -> true);
    assertEquals(late.result().rounds(), 1, "one round, however late it is");
  }
}
