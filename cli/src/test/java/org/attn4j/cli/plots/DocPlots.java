package org.attn4j.cli.plots;

import java.io.IOException;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import org.attn4j.cli.chart.Figure;
import org.attn4j.cli.chart.FigureImage;

/**
 * Draws the plots of README.md and docs/ from bench/results: {@code mvn -q -Dnatives=skip
 * -DskipTests -Pplots -pl cli -am package}.
 *
 * <p>Arguments: the folder of the results, the folder of the plots.
 */
public final class DocPlots {
  private DocPlots() {}

  /** Draws all of them. */
  public static void main(String[] args) throws IOException {
    System.setProperty("java.awt.headless", "true");
    Path out = Path.of(args[1]);
    for (Map.Entry<String, Figure> figure : figures(Path.of(args[0])).entrySet()) {
      FigureImage.write(figure.getValue(), out.resolve(figure.getKey() + ".png"));
    }
  }

  /** Every plot under its name. */
  static Map<String, Figure> figures(Path results) throws IOException {
    Map<String, Figure> figures = new LinkedHashMap<>();
    figures.putAll(new SpeedPlots(results).figures());
    figures.putAll(new SparsePlots(results).figures());
    figures.putAll(new AccuracyPlots(results).figures());
    figures.putAll(new CostPlots(results).figures());
    return figures;
  }
}
