package org.attn4j.samples;

import java.util.Arrays;
import java.util.Locale;

/**
 * The order in which the pixels of a picture become tokens. The result of exact attention doesn't
 * depend on it; which tokens share an INT8 scale or a block does.
 */
enum TokenOrder {
  /** Line by line. */
  RASTER {
    @Override
    int[] pixels(int width, int height) {
      return tiled(width, height, width, 1);
    }
  },
  /**
   * In tiles 16 pixels wide and 8 high: 128 neighbours in the plane are 128 neighbours in the
   * sequence.
   */
  TILES {
    @Override
    int[] pixels(int width, int height) {
      return tiled(width, height, 16, 8);
    }
  };

  /** The pixel (row * width + column) behind each token. */
  abstract int[] pixels(int width, int height);

  static TokenOrder parse(String name) {
    return Arrays.stream(values())
        .filter(order -> order.label().equals(name))
        .findFirst()
        .orElseThrow(
            () ->
                new IllegalArgumentException("order is " + name + "; raster and tiles are known"));
  }

  String label() {
    return name().toLowerCase(Locale.ROOT);
  }

  private static int[] tiled(int width, int height, int tileWidth, int tileHeight) {
    int[] pixels = new int[width * height];
    int token = 0;
    for (int top = 0; top < height; top += tileHeight) {
      for (int left = 0; left < width; left += tileWidth) {
        for (int y = top; y < Math.min(height, top + tileHeight); y++) {
          for (int x = left; x < Math.min(width, left + tileWidth); x++) {
            pixels[token++] = y * width + x;
          }
        }
      }
    }
    return pixels;
  }
}
