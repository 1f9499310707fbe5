package org.attn4j.cli.chart;

import java.awt.image.BufferedImage;
import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import javax.imageio.IIOImage;
import javax.imageio.ImageIO;
import javax.imageio.ImageReader;
import javax.imageio.ImageTypeSpecifier;
import javax.imageio.ImageWriteParam;
import javax.imageio.ImageWriter;
import javax.imageio.metadata.IIOMetadata;
import javax.imageio.metadata.IIOMetadataNode;
import javax.imageio.stream.ImageInputStream;
import javax.imageio.stream.ImageOutputStream;
import org.w3c.dom.NodeList;

/** PNG files that carry a line of text beside the picture. */
public final class PngFile {
  private static final String NATIVE = "javax_imageio_png_1.0";

  private PngFile() {}

  /** Writes the picture, with `text` under `keyword`. */
  public static void write(BufferedImage image, String keyword, String text, Path file)
      throws IOException {
    if (file.toAbsolutePath().getParent() != null) {
      Files.createDirectories(file.toAbsolutePath().getParent());
    }
    ImageWriter writer = ImageIO.getImageWritersByFormatName("png").next();
    ImageWriteParam parameters = writer.getDefaultWriteParam();
    parameters.setCompressionMode(ImageWriteParam.MODE_EXPLICIT);
    parameters.setCompressionQuality(0); // the smallest file
    IIOMetadata metadata =
        writer.getDefaultImageMetadata(
            ImageTypeSpecifier.createFromRenderedImage(image), parameters);
    IIOMetadataNode entry = new IIOMetadataNode("tEXtEntry");
    entry.setAttribute("keyword", keyword);
    entry.setAttribute("value", text);
    IIOMetadataNode texts = new IIOMetadataNode("tEXt");
    texts.appendChild(entry);
    IIOMetadataNode root = new IIOMetadataNode(NATIVE);
    root.appendChild(texts);
    metadata.mergeTree(NATIVE, root);
    Files.deleteIfExists(file);
    try (ImageOutputStream out = ImageIO.createImageOutputStream(file.toFile())) {
      if (out == null) {
        throw new IOException(file + " can't be written");
      }
      writer.setOutput(out);
      writer.write(null, new IIOImage(image, null, metadata), parameters);
    } finally {
      writer.dispose();
    }
  }

  /** The text under `keyword`, if the file has one. */
  public static Optional<String> text(String keyword, Path file) throws IOException {
    ImageReader reader = ImageIO.getImageReadersByFormatName("png").next();
    File source = file.toFile();
    try (ImageInputStream in = ImageIO.createImageInputStream(source)) {
      if (in == null) {
        throw new IOException(file + " can't be read");
      }
      reader.setInput(in);
      IIOMetadataNode root = (IIOMetadataNode) reader.getImageMetadata(0).getAsTree(NATIVE);
      NodeList entries = root.getElementsByTagName("tEXtEntry");
      for (int i = 0; i < entries.getLength(); i++) {
        IIOMetadataNode entry = (IIOMetadataNode) entries.item(i);
        if (entry.getAttribute("keyword").equals(keyword)) {
          return Optional.of(entry.getAttribute("value"));
        }
      }
      return Optional.empty();
    } finally {
      reader.dispose();
    }
  }
}
