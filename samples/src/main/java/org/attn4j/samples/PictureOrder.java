package org.attn4j.samples;

import java.util.Arrays;
import java.util.Locale;
import org.attn4j.TokenOrder;

/**
 * The orders in which the demo turns pixels into tokens. Exact attention doesn't mind; which tokens
 * share an INT8 scale, and which blocks SpargeAttn can leave out, depends on it.
 */
public enum PictureOrder {
  /** Line by line. */
  RASTER {
    @Override
    public TokenOrder tokens(int height, int width) {
      return TokenOrder.tiles(height, width, 1, width);
    }
  },
  /** In tiles 16 pixels wide and 8 high: one block of 128 queries each. */
  TILES {
    @Override
    public TokenOrder tokens(int height, int width) {
      return TokenOrder.tiles(height, width, 8, 16);
    }
  },
  /** Along the Hilbert curve. */
  HILBERT {
    @Override
    public TokenOrder tokens(int height, int width) {
      return TokenOrder.hilbert(height, width);
    }
  };

  /** The order for a picture of this size. */
  public abstract TokenOrder tokens(int height, int width);

  public static PictureOrder parse(String name) {
    return Arrays.stream(values())
        .filter(order -> order.label().equals(name))
        .findFirst()
        .orElseThrow(
            () ->
                new IllegalArgumentException(
                    "order is " + name + "; raster, tiles and hilbert are known"));
  }

  public String label() {
    return name().toLowerCase(Locale.ROOT);
  }
}
