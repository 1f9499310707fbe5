package org.attn4j;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.Arrays;
import java.util.stream.IntStream;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Token orders: each token once, the curve without jumps, there and back again. */
public class TokenOrderTest {
  @Test
  public void smallestCurve() {
    // Up one side and down the other, in one of its orientations.
    assertEquals(TokenOrder.hilbert(2, 2).order(), new int[] {0, 1, 3, 2});
  }

  @Test
  public void tilesAreRasterInsideAndOut() {
    assertEquals(
        TokenOrder.tiles(3, 5, 2, 2).order(),
        new int[] {0, 1, 5, 6, 2, 3, 7, 8, 4, 9, 10, 11, 12, 13, 14});
  }

  @DataProvider
  public Object[][] orders() {
    return new Object[][] {
      {TokenOrder.hilbert(64, 64), 4096},
      {TokenOrder.hilbert(30, 17), 510},
      {TokenOrder.hilbert(1, 1), 1},
      {TokenOrder.hilbert(1, 100), 100},
      {TokenOrder.hilbert(8, 8, 8), 512},
      {TokenOrder.hilbert(5, 9, 13), 585},
      {TokenOrder.tiles(33, 70, 8, 16), 2310},
    };
  }

  @Test(dataProvider = "orders")
  public void eachTokenOnceAndBackAgain(TokenOrder order, int tokens) {
    assertEquals(order.size(), tokens);
    int[] sorted = order.order();
    Arrays.sort(sorted);
    assertEquals(sorted, IntStream.range(0, tokens).toArray());
    for (int i = 0; i < tokens; i++) {
      assertEquals(order.place(order.token(i)), i);
    }
    float[] rows = new float[tokens * 3];
    for (int i = 0; i < rows.length; i++) {
      rows[i] = i;
    }
    float[] arranged = order.arrange(rows, 3);
    assertEquals(arranged[3 * (tokens / 2) + 1], rows[3 * order.token(tokens / 2) + 1]);
    assertEquals(order.restore(arranged, 3), rows);
  }

  @Test
  public void curveOfPowersOfTwoHasNoJumps() {
    TokenOrder flat = TokenOrder.hilbert(32, 32);
    for (int i = 1; i < flat.size(); i++) {
      int a = flat.token(i - 1);
      int b = flat.token(i);
      assertEquals(Math.abs(a / 32 - b / 32) + Math.abs(a % 32 - b % 32), 1, "step " + i);
    }
    TokenOrder cube = TokenOrder.hilbert(16, 16, 16);
    for (int i = 1; i < cube.size(); i++) {
      int a = cube.token(i - 1);
      int b = cube.token(i);
      int distance =
          Math.abs(a / 256 - b / 256)
              + Math.abs(a / 16 % 16 - b / 16 % 16)
              + Math.abs(a % 16 - b % 16);
      assertEquals(distance, 1, "step " + i);
    }
  }

  @Test
  public void badSizes() {
    String message =
        expectThrows(InvalidAttentionArgumentException.class, () -> TokenOrder.hilbert(0, 5))
            .getMessage();
    assertTrue(message.startsWith("sizes are [0, 5];"), message);
    expectThrows(
        InvalidAttentionArgumentException.class, () -> TokenOrder.tiles(100000, 100000, 8, 8));
    expectThrows(
        InvalidAttentionArgumentException.class,
        () -> TokenOrder.hilbert(4, 4).arrange(new float[15], 1));
  }
}
