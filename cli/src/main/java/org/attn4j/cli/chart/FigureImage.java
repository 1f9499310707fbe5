package org.attn4j.cli.chart;

import java.awt.BasicStroke;
import java.awt.Color;
import java.awt.Font;
import java.awt.Graphics2D;
import java.awt.RenderingHints;
import java.awt.image.BufferedImage;
import java.io.IOException;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import org.attn4j.cli.chart.Figure.Panel;
import org.attn4j.cli.chart.Figure.Scale;
import org.attn4j.cli.chart.Figure.Series;
import org.attn4j.cli.chart.Figure.Tone;

/**
 * Draws figures: a light card that is as readable on a dark page, at twice the size in which it is
 * shown.
 */
public final class FigureImage {
  /** Under this keyword a PNG has the digest of what it shows. */
  public static final String KEYWORD = "attn4j-data";

  static final Color PAPER = new Color(0xFBFBFC);
  static final Color INK = new Color(0x23272E);
  static final Color PALE_INK = new Color(0x5B6470);

  private static final int DETAIL = 2;
  private static final int PANEL_HEIGHT = 340;
  private static final int MARGIN = 18;
  private static final int HEADER = 84;
  private static final int LEGEND_LINE = 22;

  private final Figure figure;
  private final int width;

  private FigureImage(Figure figure) {
    this.figure = figure;
    this.width = figure.panels().size() < 3 && places() < 8 ? 900 : 1080;
  }

  private int places() {
    return figure.panels().stream().mapToInt(p -> p.series().get(0).x().size()).max().orElse(1);
  }

  /** Draws a figure and writes it as PNG, with its digest. */
  public static void write(Figure figure, Path file) throws IOException {
    BufferedImage image;
    try {
      image = new FigureImage(figure).draw();
    } catch (InternalError | LinkageError e) { // what AWT throws without fonts or FreeType
      throw new IOException(
          "no text can be drawn here: install fonts and fontconfig, such as Debian's"
              + " fonts-dejavu-core, and a JRE with AWT ("
              + e.getMessage()
              + ")",
          e);
    }
    PngFile.write(image, KEYWORD, figure.digest(), file);
  }

  static Color color(Tone tone) {
    return new Color(
        switch (tone) {
          case OURS -> 0x1F5FD0;
          case SECOND -> 0x12917F;
          case THIRD -> 0x8A4FBE;
          case FOURTH -> 0xC2447A;
          case PEER -> 0xD9730D;
          case OTHER_PEER -> 0x8C939D;
        });
  }

  private BufferedImage draw() {
    int height = HEADER + PANEL_HEIGHT + MARGIN / 2;
    BufferedImage image =
        new BufferedImage(width * DETAIL, height * DETAIL, BufferedImage.TYPE_INT_RGB);
    Graphics2D graphics = image.createGraphics();
    try {
      graphics.scale(DETAIL, DETAIL);
      graphics.setRenderingHint(RenderingHints.KEY_ANTIALIASING, RenderingHints.VALUE_ANTIALIAS_ON);
      graphics.setRenderingHint(
          RenderingHints.KEY_TEXT_ANTIALIASING, RenderingHints.VALUE_TEXT_ANTIALIAS_ON);
      graphics.setColor(PAPER);
      graphics.fillRect(0, 0, width, height);
      header(graphics);
      double highest = highest();
      double lowest = figure.y() == Scale.LINEAR ? 0 : lowest();
      int count = figure.panels().size();
      int space = (width - MARGIN) / count;
      for (int i = 0; i < count; i++) {
        Graphics2D place =
            (Graphics2D) graphics.create(MARGIN / 2 + i * space, HEADER, space, PANEL_HEIGHT);
        new PanelChart(figure, figure.panels().get(i), i == 0, lowest, highest)
            .paint(place, space, PANEL_HEIGHT);
        place.dispose();
      }
    } finally {
      graphics.dispose();
    }
    return image;
  }

  private void header(Graphics2D graphics) {
    graphics.setColor(INK);
    graphics.setFont(new Font(Font.SANS_SERIF, Font.BOLD, 17));
    graphics.drawString(figure.title(), MARGIN, 26);
    graphics.setColor(PALE_INK);
    graphics.setFont(new Font(Font.SANS_SERIF, Font.PLAIN, 11));
    graphics.drawString(figure.source(), MARGIN, 44);
    graphics.setFont(new Font(Font.SANS_SERIF, Font.PLAIN, 12));
    Map<String, Tone> names = new LinkedHashMap<>();
    for (Panel panel : figure.panels()) {
      for (Series series : panel.series()) {
        names.put(series.name(), series.tone());
      }
    }
    int x = MARGIN;
    for (Map.Entry<String, Tone> entry : names.entrySet()) {
      graphics.setColor(color(entry.getValue()));
      graphics.setStroke(new BasicStroke(4, BasicStroke.CAP_ROUND, BasicStroke.JOIN_ROUND));
      graphics.drawLine(x + 2, 44 + LEGEND_LINE - 4, x + 16, 44 + LEGEND_LINE - 4);
      graphics.setColor(INK);
      graphics.drawString(entry.getKey(), x + 24, 44 + LEGEND_LINE);
      x += 24 + graphics.getFontMetrics().stringWidth(entry.getKey()) + 20;
    }
  }

  private double highest() {
    double most =
        figure.panels().stream()
            .flatMap(panel -> panel.series().stream())
            .flatMap(series -> series.y().stream())
            .filter(value -> value != null)
            .mapToDouble(Double::doubleValue)
            .max()
            .orElse(1);
    return figure.y() == Scale.LINEAR ? most * 1.08 : most * 1.5;
  }

  private double lowest() {
    double least =
        figure.panels().stream()
            .flatMap(panel -> panel.series().stream())
            .flatMap(series -> series.y().stream())
            .filter(value -> value != null)
            .mapToDouble(Double::doubleValue)
            .min()
            .orElse(1);
    return Math.pow(10, Math.floor(Math.log10(least)));
  }
}
