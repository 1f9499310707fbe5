package org.attn4j.samples;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertThrows;
import static org.testng.Assert.assertTrue;

import java.awt.image.BufferedImage;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.IntStream;
import org.attn4j.SdpaBackend;
import org.attn4j.samples.ResultTable.Row;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class DenoiseDemoTest {
  private static final double SIGMA = 0.1;
  private static final double H = PatchTokens.filterStrength(SIGMA);

  @DataProvider
  public Object[][] orders() {
    return new Object[][] {{PictureOrder.RASTER}, {PictureOrder.TILES}, {PictureOrder.HILBERT}};
  }

  // binary16 rounds features below 0.5 by up to 2^-13; a logit is 2/h^2 = 938 times a sum of 49
  // products of two of them, so
  // it is off by about 938 * 0.5^2 * 2^-13 / sqrt(49) = 0.004, and the output is rounded by up to
  // 2^-12: 0.002 is twice the
  // sum, relative to colours around 0.4.
  private static final double ROUNDING = 2e-3;

  @Test(dataProvider = "orders")
  public void attentionOnTheCpuIsNonLocalMeans(PictureOrder order) throws IOException {
    Picture clean = photograph().centreSquare(37); // no multiple of a tile
    Picture noisy = clean.withNoise(SIGMA, 3);
    PatchTokens tokens = new PatchTokens(noisy, H).in(order);
    BackendRun run = BackendRun.of(SdpaBackend.CPU, tokens);
    Picture denoised = tokens.picture(run.output());

    Picture exact = exact(noisy);
    assertEquals(denoised.psnr(clean), exact.psnr(clean), 0.01);
    for (int pixel = 0; pixel < exact.pixels(); pixel++) {
      for (int c = 0; c < Picture.CHANNELS; c++) {
        assertEquals(denoised.value(pixel, c), exact.value(pixel, c), ROUNDING);
      }
    }
  }

  @Test
  public void demoDenoisesThePhotographOnTheCpu() throws IOException {
    Path out = Files.createTempDirectory(Path.of("target"), "demo-test");
    ByteArrayOutputStream printed = new ByteArrayOutputStream();
    DemoOptions options =
        DemoOptions.parse("--size", "64", "--backend", "cpu", "--out", out.toString());
    List<Row> rows;
    try (PrintStream log = new PrintStream(printed, true, StandardCharsets.UTF_8)) {
      rows = new DenoiseDemo(options, log).run();
    }

    // The CPU, and what SpargeAttn would do: three orders, two kinds of thresholds.
    assertEquals(rows.size(), 1 + 3 * 2);
    double noisyPsnr = Picture.read(out.resolve("noisy.png")).psnr(clean(64));
    assertEquals(noisyPsnr, 20, 0.5); // -20 lg 0.1, a little more where the noise is cut off
    // Measured: 5.2 dB. Non-local means gains more on larger pictures, which repeat themselves
    // more.
    assertTrue(rows.get(0).psnr() > noisyPsnr + 5, "PSNR " + rows.get(0).psnr());
    assertTrue(rows.get(0).error() < 5e-4, "error " + rows.get(0).error());
    for (Row row : rows.subList(1, rows.size())) {
      assertEquals(row.backend(), ResultTable.REFERENCE);
      // Measured: up to 0.026, and 0.37 dB lost.
      assertTrue(row.error() < 0.04, row + "");
      assertEquals(row.psnr(), rows.get(0).psnr(), 0.5, row + "");
    }
    String files =
        "clean denoised-cpu difference-cpu overview-cpu overview-reference blockmaps"
            + " blockmap-raster blockmap-tiles blockmap-hilbert blockmap-hilbert-sim0.3";
    for (String name : files.split(" ")) {
      assertTrue(Files.size(out.resolve(name + ".png")) > 0, name);
    }
    String text = printed.toString(StandardCharsets.UTF_8);
    assertTrue(text.contains("cpu") && text.contains("in Java; not the kernel"), text);
    String json = Files.readString(out.resolve("results.json"));
    assertEquals(json.split("\\{\"backend\": ", -1).length - 1, rows.size(), json);
    assertEquals(json.split("\"ms\": ", -1).length - 1, 1, json); // the reference has no time
  }

  @Test(dataProvider = "orders")
  public void everyPixelIsOneToken(PictureOrder order) {
    int[] pixels = order.tokens(21, 37).order();
    assertEquals(IntStream.of(pixels).sorted().toArray(), IntStream.range(0, 37 * 21).toArray());
  }

  @Test
  public void aTileIs16PixelsWideAnd8High() {
    int[] pixels = PictureOrder.TILES.tokens(64, 64).order();
    for (int i = 0; i < 128; i++) {
      assertEquals(pixels[128 + i], i / 16 * 64 + 16 + i % 16); // the second tile of the first row
    }
  }

  @Test
  public void reducingAPictureKeepsItsMean() throws IOException {
    Picture whole = photograph().centreSquare(300);
    assertEquals(mean(whole.centreSquare(77)), mean(whole), 1e-5);
  }

  @Test
  public void wrongOptionsAreNamed() {
    assertThrows(IllegalArgumentException.class, () -> DemoOptions.parse("--size", "none"));
    assertThrows(IllegalArgumentException.class, () -> DemoOptions.parse("--sigma", "-1"));
    assertThrows(IllegalArgumentException.class, () -> DemoOptions.parse("--colour", "red"));
    assertThrows(IllegalArgumentException.class, () -> DemoOptions.parse("--out"));
    assertThrows(IllegalArgumentException.class, () -> DemoOptions.parse("--order", "spiral"));
    assertThrows(IllegalArgumentException.class, () -> BackendChoice.of(List.of("gpu")));
  }

  @Test
  public void aPictureOfFewColoursIsReadAsItWasWritten() throws IOException {
    float[] values = {0, 0, 0, 1, 1, 1, 0.2f, 0.4f, 0.6f, 1, 1, 1};
    Path file = Files.createTempFile(Path.of("target"), "few", ".png");
    Picture.of(2, 2, values).writePng(file);
    Picture read = Picture.read(file);
    for (int i = 0; i < values.length; i++) { // a fifth is 51 of 255: nothing is rounded
      assertEquals(read.value(i / Picture.CHANNELS, i % Picture.CHANNELS), values[i], 1e-6f);
    }
  }

  @Test
  public void aSheetShowsEachPixelOfItsPictures() {
    Picture left = Picture.of(2, 1, new float[] {0, 0, 0, 1, 0, 0});
    Picture right = Picture.of(2, 1, new float[] {0, 1, 0, 0, 0, 1});
    var panels = List.of(new Sheet.Panel("", "", left), new Sheet.Panel("", "", right));
    BufferedImage sheet = new Sheet("", "", List.of(), 3).draw(List.of(panels));
    Map<Integer, Integer> pixels = new TreeMap<>();
    for (int i = 0; i < sheet.getWidth() * sheet.getHeight(); i++) {
      int rgb = sheet.getRGB(i % sheet.getWidth(), i / sheet.getWidth()) & 0xffffff;
      pixels.merge(rgb, 1, Integer::sum);
    }
    for (int colour : new int[] {0x000000, 0xff0000, 0x00ff00, 0x0000ff}) {
      assertEquals(pixels.get(colour), (Integer) 9, Integer.toHexString(colour)); // 3 x 3 each
    }
  }

  private static Picture exact(Picture noisy) {
    double[][] colours =
        new ExactNlm(noisy, H).denoise(IntStream.range(0, noisy.pixels()).toArray());
    float[] values = new float[noisy.pixels() * Picture.CHANNELS];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) colours[i / Picture.CHANNELS][i % Picture.CHANNELS];
    }
    return Picture.of(noisy.width(), noisy.height(), values);
  }

  private static double mean(Picture picture) {
    double sum = 0;
    for (float value : picture.luminance()) {
      sum += value;
    }
    return sum / picture.pixels();
  }

  private static Picture clean(int size) throws IOException {
    return photograph().centreSquare(size);
  }

  private static Picture photograph() throws IOException {
    try (InputStream in = DenoiseDemo.class.getResourceAsStream("chelsea.png")) {
      return Picture.read(in, "chelsea.png");
    }
  }
}
