package org.attn4j.cli.plots;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.stream.Stream;
import org.attn4j.cli.chart.Figure;
import org.attn4j.cli.chart.FigureImage;
import org.attn4j.cli.chart.PngFile;
import org.testng.annotations.Test;

/** The committed plots show the committed results, and each of them is on a page. */
public class DocPlotsTest {
  private static final Path ROOT = Path.of("..");
  private static final Path PLOTS = ROOT.resolve("docs/plots");
  private static final Path RESULTS = ROOT.resolve("bench/results");

  @Test
  public void plotsShowTheCommittedResults() throws Exception {
    Map<String, Figure> figures = DocPlots.figures(RESULTS);
    List<String> stale = new ArrayList<>();
    for (Map.Entry<String, Figure> figure : figures.entrySet()) {
      Path file = PLOTS.resolve(figure.getKey() + ".png");
      assertTrue(Files.exists(file), file + " is missing");
      if (!PngFile.text(FigureImage.KEYWORD, file).orElse("").equals(figure.getValue().digest())) {
        stale.add(figure.getKey());
      }
    }
    assertEquals(stale, List.of(), "draw them anew; see DocPlots");
    TreeSet<String> ours = new TreeSet<>();
    for (String plot : names(PLOTS, ".png")) { // those of other programs have no digest
      if (PngFile.text(FigureImage.KEYWORD, PLOTS.resolve(plot + ".png")).isPresent()) {
        ours.add(plot);
      }
    }
    assertEquals(ours, new TreeSet<>(figures.keySet()), "plots that nothing draws any more");
  }

  @Test
  public void everyPlotIsOnAPage() throws Exception {
    StringBuilder pages = new StringBuilder(Files.readString(ROOT.resolve("README.md")));
    for (String page : names(ROOT.resolve("docs"), ".md")) {
      pages.append(Files.readString(ROOT.resolve("docs/" + page + ".md")));
    }
    for (String plot : names(PLOTS, ".png")) {
      assertTrue(pages.indexOf("plots/" + plot + ".png") >= 0, plot + " is on no page");
    }
  }

  @Test
  public void titlesSayWhereAndWhen() throws Exception {
    for (Map.Entry<String, Figure> figure : DocPlots.figures(RESULTS).entrySet()) {
      assertTrue(
          figure.getValue().source().matches("NVIDIA H[12]00.*, 20\\d\\d-\\d\\d-\\d\\d.*\\.json.*"),
          figure.getKey() + ": " + figure.getValue().source());
    }
  }

  @Test
  public void anotherNumberIsAnotherDigest() throws Exception {
    Path changed = Files.createTempDirectory("attn4j-plots");
    try (Stream<Path> files = Files.list(RESULTS)) {
      for (Path file : files.toList()) {
        Files.writeString(
            changed.resolve(file.getFileName()),
            Files.readString(file)
                .replace("\"median_us_per_call\": 6.43", "\"median_us_per_call\": 6.44"));
      }
    }
    assertNotEquals(
        DocPlots.figures(changed).get("host-cost").digest(),
        DocPlots.figures(RESULTS).get("host-cost").digest());
  }

  private static TreeSet<String> names(Path folder, String ending) throws Exception {
    try (Stream<Path> files = Files.list(folder)) {
      TreeSet<String> names = new TreeSet<>();
      files
          .map(file -> file.getFileName().toString())
          .filter(name -> name.endsWith(ending))
          .forEach(name -> names.add(name.substring(0, name.length() - ending.length())));
      return names;
    }
  }
}
