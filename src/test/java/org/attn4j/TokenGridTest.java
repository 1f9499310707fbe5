package org.attn4j;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import org.testng.Assert.ThrowingRunnable;
import org.testng.annotations.Test;

/** Grids among other tokens, and their orders. */
public class TokenGridTest {
  @Test
  public void theGridIsACurveAndTheTextStays() {
    TokenGrid grid = TokenGrid.of(4, 8, 8).behind(77);
    int length = 77 + 256 + 13;
    TokenOrder order = grid.order(length);
    assertEquals(order.size(), length);
    TokenOrder curve = TokenOrder.hilbert(4, 8, 8);
    for (int i = 0; i < length; i++) {
      boolean inside = i >= 77 && i < 77 + 256;
      assertEquals(order.token(i), inside ? 77 + curve.token(i - 77) : i);
      assertEquals(order.place(order.token(i)), i);
    }
    for (int i = 78; i < 77 + 256; i++) {
      int a = order.token(i - 1) - 77;
      int b = order.token(i) - 77;
      int steps =
          Math.abs(a / 64 - b / 64) + Math.abs(a / 8 % 8 - b / 8 % 8) + Math.abs(a % 8 - b % 8);
      assertEquals(steps, 1, "a curve goes from neighbour to neighbour");
    }
  }

  @Test
  public void aPictureIsAVideoOfOneFrame() {
    assertEquals(TokenGrid.of(1, 6, 10).order(60).order(), TokenOrder.hilbert(6, 10).order());
  }

  @Test
  public void whatFits() {
    TokenGrid grid = TokenGrid.of(2, 3, 4).behind(5);
    assertEquals(grid.size(), 24);
    assertTrue(grid.fits(29));
    assertFalse(grid.fits(28));
    assertEquals(message(() -> grid.order(28)), "length is 28; tokenGrid needs at least 29");
    assertEquals(
        message(() -> TokenOrder.hilbert(3, 4).within(5, 16)),
        "length is 16; 12 tokens behind 5 others are to fit into it");
    assertEquals(grid.toString(), "2 x 3 x 4 behind 5");
  }

  @Test
  public void optionsKeepIt() {
    AttentionOptions options = AttentionOptions.builder().tokenGrid(2, 3, 4).build();
    assertEquals(options.tokenGrid(), TokenGrid.of(2, 3, 4));
    assertEquals(options.toBuilder().build(), options);
    assertNotEquals(options.toBuilder().tokenGrid(null).build(), options);
    assertTrue(options.toString().contains("tokenGrid=2 x 3 x 4,"), options.toString());
  }

  @Test
  public void badSizes() {
    assertEquals(
        message(() -> TokenGrid.of(2, 0, 4)),
        "tokenGrid is 2 x 0 x 4; positive sizes with a product of at most 2^31 - 1 are accepted");
    assertTrue(message(() -> TokenGrid.of(2048, 2048, 2048)).contains("product"));
    assertTrue(message(() -> TokenGrid.of(1, 1, 1).behind(-1)).startsWith("tokens is -1"));
  }

  private static String message(ThrowingRunnable action) {
    return expectThrows(InvalidAttentionArgumentException.class, action).getMessage();
  }
}
