package org.attn4j.cli.chart;

import java.awt.BasicStroke;
import java.awt.Color;
import java.awt.Font;
import java.awt.Graphics2D;
import java.text.DecimalFormat;
import java.text.DecimalFormatSymbols;
import java.util.List;
import java.util.Locale;
import org.attn4j.cli.chart.Figure.Kind;
import org.attn4j.cli.chart.Figure.Panel;
import org.attn4j.cli.chart.Figure.Scale;
import org.attn4j.cli.chart.Figure.Series;
import org.attn4j.cli.chart.Figure.Tone;
import org.knowm.xchart.CategoryChart;
import org.knowm.xchart.CategoryChartBuilder;
import org.knowm.xchart.CategorySeries;
import org.knowm.xchart.CategorySeries.CategorySeriesRenderStyle;
import org.knowm.xchart.XYChart;
import org.knowm.xchart.XYChartBuilder;
import org.knowm.xchart.XYSeries;
import org.knowm.xchart.XYSeries.XYSeriesRenderStyle;
import org.knowm.xchart.style.AxesChartStyler;
import org.knowm.xchart.style.CategoryStyler;
import org.knowm.xchart.style.markers.Marker;
import org.knowm.xchart.style.markers.SeriesMarkers;

/** One panel of a figure, drawn by XChart. */
final class PanelChart {
  private static final Color GRID = new Color(0xDDE1E6);
  private static final BasicStroke LINE =
      new BasicStroke(2.2f, BasicStroke.CAP_ROUND, BasicStroke.JOIN_ROUND);

  private final Figure figure;
  private final Panel panel;
  private final boolean first;
  private final double lowest;
  private final double highest;

  PanelChart(Figure figure, Panel panel, boolean first, double lowest, double highest) {
    this.figure = figure;
    this.panel = panel;
    this.first = first;
    this.lowest = lowest;
    this.highest = highest;
  }

  void paint(Graphics2D graphics, int width, int height) {
    String yTitle = first ? figure.yTitle() : "";
    if (panel.kind() == Kind.CURVES || panel.kind() == Kind.POINTS) {
      XYChart chart = new XYChartBuilder().title(panel.title()).width(width).height(height).build();
      chart.setXAxisTitle(panel.xTitle());
      chart.setYAxisTitle(yTitle);
      style(chart.getStyler());
      chart.getStyler().setXAxisMin(0.0);
      for (Series series : panel.series()) {
        add(chart, series);
      }
      chart.paint(graphics, width, height);
    } else {
      CategoryChart chart =
          new CategoryChartBuilder().title(panel.title()).width(width).height(height).build();
      chart.setXAxisTitle(panel.xTitle());
      chart.setYAxisTitle(yTitle);
      CategoryStyler styler = chart.getStyler();
      style(styler);
      boolean bars = panel.kind() == Kind.BARS;
      styler.setAvailableSpaceFill(bars ? 0.72 : 0.1);
      styler.setDefaultSeriesRenderStyle(
          bars ? CategorySeriesRenderStyle.Bar : CategorySeriesRenderStyle.Line);
      styler.setOverlapped(!bars);
      styler.setXAxisTickMarkSpacingHint(1); // every category has its name
      styler.setXAxisLabelRotation(crowded(width) ? 24 : 0);
      for (Series series : panel.series()) {
        add(chart, series);
      }
      chart.paint(graphics, width, height);
    }
  }

  private void add(XYChart chart, Series series) {
    List<Double> x = series.x().stream().map(place -> ((Number) place).doubleValue()).toList();
    XYSeries drawn = chart.addSeries(series.name(), x, series.y());
    Color color = FigureImage.color(series.tone());
    drawn.setLineColor(color).setLineStyle(LINE);
    drawn.setMarker(SeriesMarkers.CIRCLE).setMarkerColor(color);
    if (panel.kind() == Kind.POINTS) {
      drawn.setXYSeriesRenderStyle(XYSeriesRenderStyle.Scatter);
    }
  }

  private static void add(CategoryChart chart, Series series) {
    CategorySeries drawn = chart.addSeries(series.name(), series.x(), series.y());
    Color color = FigureImage.color(series.tone());
    drawn.setFillColor(color);
    drawn.setLineColor(color).setLineStyle(LINE);
    drawn.setMarker(marker(series.tone())).setMarkerColor(color);
  }

  private static Marker marker(Tone tone) {
    return switch (tone) {
      case PEER -> SeriesMarkers.DIAMOND;
      case OTHER_PEER -> SeriesMarkers.SQUARE;
      default -> SeriesMarkers.CIRCLE;
    };
  }

  /** Whether the names of the categories would run into each other. */
  private boolean crowded(int width) {
    List<?> names = panel.series().get(0).x();
    int longest = names.stream().mapToInt(name -> name.toString().length()).max().orElse(0);
    return (longest + 2) * 6 * names.size() > width - 80;
  }

  /** A number as people write it: a logarithmic axis has 0.0001 and 10,000. */
  private static String number(double value) {
    DecimalFormatSymbols symbols = DecimalFormatSymbols.getInstance(Locale.ROOT);
    return new DecimalFormat("#,##0.######", symbols).format(value);
  }

  private void style(AxesChartStyler styler) {
    styler.setChartBackgroundColor(FigureImage.PAPER);
    styler.setPlotBackgroundColor(FigureImage.PAPER);
    styler.setChartFontColor(FigureImage.INK);
    styler.setChartTitleVisible(!panel.title().isEmpty());
    styler.setChartTitleBoxVisible(false);
    styler.setChartTitleFont(new Font(Font.SANS_SERIF, Font.BOLD, 13));
    styler.setAxisTitleFont(new Font(Font.SANS_SERIF, Font.PLAIN, 12));
    styler.setAxisTickLabelsFont(new Font(Font.SANS_SERIF, Font.PLAIN, 11));
    styler.setAxisTickLabelsColor(FigureImage.PALE_INK);
    styler.setAxisTickMarksColor(GRID);
    styler.setLegendVisible(false);
    styler.setPlotBorderVisible(false);
    styler.setPlotGridLinesColor(GRID);
    styler.setPlotGridVerticalLinesVisible(false);
    styler.setPlotGridLinesStroke(new BasicStroke(1));
    styler.setMarkerSize(7);
    styler.setChartPadding(8);
    styler.setYAxisLogarithmic(figure.y() == Scale.LOGARITHMIC);
    styler.setYAxisMin(lowest);
    styler.setYAxisMax(highest);
    styler.setYAxisLogarithmicDecadeOnly(true);
    styler.setYAxisTickLabelsFormattingFunction(PanelChart::number);
    styler.setPlotContentSize(0.97);
  }
}
