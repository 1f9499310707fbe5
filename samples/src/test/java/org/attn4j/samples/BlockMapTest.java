package org.attn4j.samples;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertThrows;
import static org.testng.Assert.assertTrue;

import java.io.IOException;
import java.io.InputStream;
import java.util.List;
import java.util.Random;
import org.attn4j.BlockGrid;
import org.attn4j.SparsityOptions;
import org.attn4j.samples.SpargeRun.Thresholds;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** The blocks that SpargeAttn would choose, attention over them, and how a map is drawn. */
public class BlockMapTest {
  private static final int HEAD_DIM = 4; // of made-up tokens
  private static final double SIGMA = 0.1;
  private static final double H = PatchTokens.filterStrength(SIGMA);

  @DataProvider
  public Object[][] orders() {
    return new Object[][] {{PictureOrder.RASTER}, {PictureOrder.TILES}, {PictureOrder.HILBERT}};
  }

  @Test
  public void aMapIsDrawnInTheProportionsOfTheAttentionMatrix() {
    BlockMap map = randomMap(new BlockGrid(128, 64, 5, 9));
    Picture picture = map.picture(100);
    assertEquals(picture.width(), 9 * 12); // 12: the least that makes 100 pixels
    assertEquals(picture.height(), 5 * 24);
    int light = 0;
    for (int pixel = 0; pixel < picture.pixels(); pixel++) {
      int x = pixel % picture.width();
      int y = pixel / picture.width();
      boolean isLight = picture.value(pixel, 0) > 0.5;
      assertEquals(isLight, map.computed(y / 24, x / 12), "pixel " + x + ", " + y);
      light += isLight ? 1 : 0;
    }
    assertEquals((double) light / picture.pixels(), 1 - map.sparsity(), 1e-9);
    assertTrue(map.sparsity() > 0.2 && map.sparsity() < 0.8, "a map with both");
  }

  @Test
  public void mapsOfOneGridAreCompared() {
    BlockGrid grid = new BlockGrid(128, 64, 1, 4);
    BlockMap one = BlockMap.of(grid, new float[] {1, 0, 0, 1});
    BlockMap other = BlockMap.of(grid, new float[] {1, 1, 0, 1});
    assertEquals(one.agreement(other), 0.75);
    assertEquals(one.sparsity(), 0.5);
    assertThrows(IllegalArgumentException.class, () -> BlockMap.of(grid, new float[3]));
    BlockMap longer = BlockMap.full(new BlockGrid(128, 64, 1, 5));
    assertThrows(IllegalArgumentException.class, () -> one.agreement(longer));
  }

  // The tolerance is DenoiseDemoTest's: what binary16 inputs do to exact attention.
  @Test(dataProvider = "orders")
  public void keepingEverythingIsExact(PictureOrder order) throws IOException {
    Picture noisy = noisy(37);
    PatchTokens raster = new PatchTokens(noisy, H);
    BlockMap full = BlockMap.full(BlockSelection.grid(raster.count(), raster.count()));
    MaskedAttention attention = new MaskedAttention(raster.in(order), List.of(full));
    MaskedAttention.run(raster, List.of(attention));
    int[] pixels = {0, 1, 36, 700, 37 * 37 - 1};
    double[][] exact = new ExactNlm(noisy, H).denoise(pixels);
    for (int i = 0; i < pixels.length; i++) {
      for (int c = 0; c < Picture.CHANNELS; c++) {
        assertEquals(attention.picture(0).value(pixels[i], c), exact[i][c], 2e-3);
      }
    }
  }

  // Scores are floats around 1e2 or less, off by 1e-5; so are the weights, relative to their size.
  @Test(dataProvider = "orders")
  public void onlyTheBlocksOfTheMapCount(PictureOrder order) throws IOException {
    PatchTokens raster = new PatchTokens(noisy(37), H);
    PatchTokens tokens = raster.in(order);
    BlockMap map = randomMap(BlockSelection.grid(tokens.count(), tokens.count()));
    BlockMap none = BlockMap.of(map.grid(), new float[map.rows() * map.columns()]);
    MaskedAttention attention = new MaskedAttention(tokens, List.of(none, map));
    MaskedAttention.run(raster, List.of(attention));
    for (int query = 0; query < tokens.count(); query += 50) {
      int pixel = tokens.order().token(query);
      assertEquals(attention.picture(0).value(pixel, 1), 0f, "a row without a block");
      float expected = plainAttention(tokens, map, query)[1];
      assertEquals(attention.picture(1).value(pixel, 1), expected, 1e-4);
    }
  }

  @Test
  public void theLargestMassIsChosen() {
    float[] keys = directions(64, 0, 1, 2, 3);
    float[] queries = directions(128, 2, 0);
    BlockMap map = select(queries, keys, SparsityOptions.DEFAULTS);
    for (int block = 0; block < 4; block++) {
      assertEquals(map.computed(0, block), block == 2);
      assertEquals(map.computed(1, block), block == 0);
    }
    BlockMap sink = select(queries, keys, SparsityOptions.DEFAULTS.withAttentionSink(true));
    assertTrue(sink.computed(0, 0) && sink.computed(0, 2) && !sink.computed(0, 1));
    BlockMap half = select(queries, keys, SparsityOptions.DEFAULTS.withTopk(0.5f));
    assertEquals(half.sparsity(), 0.5);
    assertTrue(half.computed(0, 0) && half.computed(0, 2), "ties go to the smaller index");
  }

  @Test
  public void whatNoAverageDescribesIsComputed() {
    float[] keys = directions(64, 0, 1, 2, 3);
    float[] queries = directions(128, 2, 0);
    for (int c = 0; c < HEAD_DIM; c++) {
      queries[c] = 0; // a query without a direction, in the first block
    }
    for (int token = 64; token < 128; token += 2) { // every other key of the second block turns
      for (int c = 0; c < HEAD_DIM; c++) {
        keys[token * HEAD_DIM + c] *= -1;
      }
    }
    for (int token = 0; token < keys.length / HEAD_DIM; token++) {
      keys[token * HEAD_DIM] += 1000; // what all keys share says nothing about how alike they are
    }
    BlockMap map = select(queries, keys, SparsityOptions.DEFAULTS);
    for (int block = 0; block < 4; block++) {
      assertTrue(map.computed(0, block));
    }
    assertTrue(map.computed(1, 0) && map.computed(1, 1));
    assertFalse(map.computed(1, 2) || map.computed(1, 3));
  }

  @Test
  public void thresholdsAtTheTopKeepEverything() throws IOException {
    PatchTokens tokens = new PatchTokens(noisy(64), H).in(PictureOrder.HILBERT);
    BlockGrid grid = BlockSelection.grid(tokens.count(), tokens.count());
    SparsityOptions trusting = Thresholds.TRUSTING.options();
    assertTrue(BlockSelection.select(tokens, trusting, grid).sparsity() > 0);
    for (SparsityOptions all :
        List.of(trusting.withCdfthreshd(1), trusting.withSimthreshd1(1), trusting.withTopk(1))) {
      assertEquals(BlockSelection.select(tokens, all, grid).sparsity(), 0.0, all + "");
    }
  }

  /** Measured: 0.000, 0.039, 0.076 with the defaults, 0.084, 0.433, 0.485 with 0.3. */
  @Test
  public void neighboursInThePlaneMakeBlocksThatCanBeLeftOut() throws IOException {
    PatchTokens raster = new PatchTokens(noisy(128), H);
    BlockGrid grid = BlockSelection.grid(raster.count(), raster.count());
    for (Thresholds thresholds : List.of(Thresholds.DEFAULT, Thresholds.TRUSTING)) {
      double before = -0.01;
      for (PictureOrder order : PictureOrder.values()) {
        BlockMap map = BlockSelection.select(raster.in(order), thresholds.options(), grid);
        assertTrue(map.sparsity() > before + 0.005, order + " leaves out " + map.sparsity());
        before = map.sparsity();
      }
    }
  }

  /** Blocks of {@code size} tokens, each along one axis. */
  private static float[] directions(int size, int... axes) {
    float[] rows = new float[axes.length * size * HEAD_DIM];
    for (int token = 0; token < axes.length * size; token++) {
      rows[token * HEAD_DIM + axes[token / size]] = 5;
    }
    return rows;
  }

  private static BlockMap select(float[] queries, float[] keys, SparsityOptions options) {
    BlockGrid grid = BlockSelection.grid(queries.length / HEAD_DIM, keys.length / HEAD_DIM);
    return new BlockSelection(HEAD_DIM, 1, options).select(queries, keys, grid);
  }

  private static BlockMap randomMap(BlockGrid grid) {
    Random random = new Random(5);
    float[] report = new float[(int) (grid.queryBlocks() * grid.keyBlocks())];
    for (int i = 0; i < report.length; i++) {
      report[i] = i % grid.keyBlocks() == 0 || random.nextBoolean() ? 1 : 0;
    }
    return BlockMap.of(grid, report);
  }

  private static float[] plainAttention(PatchTokens tokens, BlockMap map, int query) {
    double[] scores = new double[tokens.count()];
    double top = Double.NEGATIVE_INFINITY;
    for (int key = 0; key < scores.length; key++) {
      scores[key] = Double.NEGATIVE_INFINITY;
      if (map.computed(query / 128, key / 64)) {
        double dot = 0;
        for (int c = 0; c < PatchTokens.HEAD_DIM; c++) {
          double q = tokens.queries()[query * PatchTokens.HEAD_DIM + c];
          dot += q * tokens.keys()[key * PatchTokens.HEAD_DIM + c];
        }
        scores[key] = tokens.scale() * dot;
        top = Math.max(top, scores[key]);
      }
    }
    double total = 0;
    double[] colour = new double[Picture.CHANNELS];
    for (int key = 0; key < scores.length; key++) {
      double weight = Math.exp(scores[key] - top);
      total += weight;
      for (int c = 0; c < colour.length; c++) {
        colour[c] += weight * tokens.values()[key * PatchTokens.HEAD_DIM + c];
      }
    }
    float[] result = new float[colour.length];
    for (int c = 0; c < colour.length; c++) {
      result[c] = (float) (colour[c] / total);
    }
    return result;
  }

  private static Picture noisy(int size) throws IOException {
    try (InputStream in = DenoiseDemo.class.getResourceAsStream(DemoOptions.PHOTOGRAPH)) {
      return Picture.read(in, DemoOptions.PHOTOGRAPH).centreSquare(size).withNoise(SIGMA, 1);
    }
  }
}
