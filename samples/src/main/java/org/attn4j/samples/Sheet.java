package org.attn4j.samples;

import java.awt.Color;
import java.awt.Font;
import java.awt.FontMetrics;
import java.awt.Graphics2D;
import java.awt.RenderingHints;
import java.awt.image.BufferedImage;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import javax.imageio.ImageIO;

/**
 * Pictures in rows, each with a title above and a line below, under a heading. Every picture keeps
 * its pixels, enlarged by a whole number. Where Java has no fonts, the pictures stand alone.
 */
final class Sheet {
  /**
   * One picture of a sheet.
   *
   * @param title what stands above it
   * @param note what stands below it; may be empty
   * @param picture the picture
   */
  record Panel(String title, String note, Picture picture) {}

  /**
   * A colour and what it means.
   *
   * @param colour red, green and blue, each from 0 to 1
   * @param meaning in a few words
   */
  record Key(float[] colour, String meaning) {}

  private static final int MARGIN = 16;
  private static final int GAP = 14;
  private static final int HEADING = 22;
  private static final int LINE = 18;
  private static final int SWATCH = 12;
  private static final Color INK = new Color(0x1b2a41);
  private static final Color FAINT = new Color(0x5a6778);
  private static final boolean FONTS = hasFonts();

  private final String heading;
  private final String explanation;
  private final List<Key> legend;
  private final int scale;

  /**
   * A sheet whose pictures are enlarged {@code scale} times, with a heading and a line that
   * explains, before the colours of {@code legend}.
   */
  Sheet(String heading, String explanation, List<Key> legend, int scale) {
    this.heading = heading;
    this.explanation = explanation;
    this.legend = List.copyOf(legend);
    this.scale = scale;
  }

  /** Writes the rows, whose pictures have one size, as a PNG file. */
  void write(List<List<Panel>> rows, Path file) throws IOException {
    BufferedImage image = draw(rows);
    if (!ImageIO.write(image, "png", file.toFile())) {
      throw new IOException("this JDK has no PNG writer");
    }
  }

  /** The sheet: one column for each panel of the longest row. */
  BufferedImage draw(List<List<Panel>> rows) {
    Picture first = rows.get(0).get(0).picture();
    int width = first.width() * scale;
    int height = first.height() * scale;
    int columns = rows.stream().mapToInt(List::size).max().orElseThrow();
    int line = FONTS ? LINE : 0;
    int top = MARGIN + (FONTS ? HEADING + LINE + GAP : 0);
    BufferedImage image =
        new BufferedImage(
            2 * MARGIN + columns * (width + GAP) - GAP,
            top + rows.size() * (height + 2 * line + GAP) - GAP + MARGIN,
            BufferedImage.TYPE_INT_RGB);
    Graphics2D canvas = image.createGraphics();
    canvas.setColor(Color.WHITE);
    canvas.fillRect(0, 0, image.getWidth(), image.getHeight());
    canvas.setRenderingHint(
        RenderingHints.KEY_TEXT_ANTIALIASING, RenderingHints.VALUE_TEXT_ANTIALIAS_ON);
    if (FONTS) {
      drawHead(canvas);
    }
    for (int row = 0; row < rows.size(); row++) {
      int y = top + row * (height + 2 * line + GAP);
      for (int column = 0; column < rows.get(row).size(); column++) {
        Panel panel = rows.get(row).get(column);
        int x = MARGIN + column * (width + GAP);
        drawPicture(image, panel.picture(), x, y + line);
        if (FONTS) {
          text(canvas, panel.title(), Font.BOLD, 13, INK, x, y + line - 5, width);
          text(canvas, panel.note(), Font.PLAIN, 12, FAINT, x, y + line + height + 14, width);
        }
      }
    }
    canvas.dispose();
    return image;
  }

  private void drawHead(Graphics2D canvas) {
    text(canvas, heading, Font.BOLD, 16, INK, MARGIN, MARGIN + 14, Integer.MAX_VALUE);
    int y = MARGIN + HEADING + 12;
    int x = MARGIN + text(canvas, explanation, Font.PLAIN, 12, FAINT, MARGIN, y, Integer.MAX_VALUE);
    for (Key key : legend) {
      x += GAP;
      canvas.setColor(new Color(key.colour()[0], key.colour()[1], key.colour()[2]));
      canvas.fillRect(x, y - SWATCH + 2, SWATCH, SWATCH);
      canvas.setColor(FAINT);
      canvas.drawRect(x, y - SWATCH + 2, SWATCH, SWATCH);
      x += SWATCH + 6;
      x += text(canvas, key.meaning(), Font.PLAIN, 12, FAINT, x, y, Integer.MAX_VALUE);
    }
  }

  /** Draws a line of text, made smaller if it is too wide, and returns its width in pixels. */
  private static int text(
      Graphics2D canvas, String text, int style, int size, Color colour, int x, int y, int room) {
    Font font = new Font(Font.SANS_SERIF, style, size);
    FontMetrics metrics = canvas.getFontMetrics(font);
    int width = metrics.stringWidth(text);
    if (width > room) {
      font = font.deriveFont((float) size * room / width);
      width = room;
    }
    canvas.setFont(font);
    canvas.setColor(colour);
    canvas.drawString(text, x, y);
    return width;
  }

  private void drawPicture(BufferedImage image, Picture picture, int left, int top) {
    for (int y = 0; y < picture.height() * scale; y++) {
      for (int x = 0; x < picture.width() * scale; x++) {
        int pixel = y / scale * picture.width() + x / scale;
        int rgb = 0;
        for (int channel = 0; channel < Picture.CHANNELS; channel++) {
          float value = Math.max(0, Math.min(1, picture.value(pixel, channel)));
          rgb = rgb << 8 | Math.round(255 * value);
        }
        image.setRGB(left + x, top + y, rgb);
      }
    }
  }

  /** A Java runtime may come without the libraries and files that text needs. */
  private static boolean hasFonts() {
    try {
      BufferedImage image = new BufferedImage(1, 1, BufferedImage.TYPE_INT_RGB);
      Font font = new Font(Font.SANS_SERIF, Font.PLAIN, 12);
      return image.createGraphics().getFontMetrics(font).stringWidth("m") > 0;
    } catch (RuntimeException | LinkageError | InternalError e) {
      return false;
    }
  }
}
