package org.attn4j.server;

import java.awt.image.BufferedImage;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.util.Iterator;
import java.util.Locale;
import javax.imageio.ImageIO;
import javax.imageio.ImageReader;
import javax.imageio.stream.ImageInputStream;
import javax.imageio.stream.MemoryCacheImageInputStream;
import org.attn4j.samples.Picture;

/** Reads a PNG or JPEG that a stranger sent: its size is looked at before its pixels are. */
final class UploadedPicture {
  static final int MOST_PIXELS = 16 << 20;
  private static final int JPEG_START = 0xffd8ff;
  private static final int PNG_START = 0x89504e;

  private UploadedPicture() {}

  /** Decodes in memory, or throws a {@link Problem}. */
  static Picture decode(byte[] bytes) {
    if (bytes.length == 0) {
      throw Problem.badRequest("the body is empty; the bytes of a PNG or JPEG are needed");
    }
    ImageReader reader = reader(bytes);
    try (ImageInputStream in = new MemoryCacheImageInputStream(new ByteArrayInputStream(bytes))) {
      reader.setInput(in, true, true);
      long pixels = (long) reader.getWidth(0) * reader.getHeight(0);
      if (pixels > MOST_PIXELS) {
        throw Problem.tooLarge(
            String.format(
                Locale.ROOT,
                "the picture has %d x %d pixels; up to %d in all are accepted",
                reader.getWidth(0),
                reader.getHeight(0),
                MOST_PIXELS));
      }
      BufferedImage image = reader.read(0);
      return Picture.of(image);
    } catch (IOException | IllegalArgumentException | IndexOutOfBoundsException e) {
      throw Problem.badRequest("the picture is damaged: it can't be decoded as " + format(bytes));
    } finally {
      reader.dispose();
    }
  }

  private static ImageReader reader(byte[] bytes) {
    String format = format(bytes);
    Iterator<ImageReader> readers = ImageIO.getImageReadersByFormatName(format);
    if (format.isEmpty() || !readers.hasNext()) {
      throw Problem.mediaType("the body is neither a PNG nor a JPEG; these two are accepted");
    }
    return readers.next();
  }

  private static String format(byte[] bytes) {
    int start = 0;
    for (int i = 0; i < 3; i++) {
      start = start << 8 | (i < bytes.length ? bytes[i] & 0xff : 0);
    }
    return start == PNG_START ? "PNG" : start == JPEG_START ? "JPEG" : "";
  }
}
