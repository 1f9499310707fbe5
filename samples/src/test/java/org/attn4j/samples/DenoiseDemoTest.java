package org.attn4j.samples;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertThrows;
import static org.testng.Assert.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.IntStream;
import org.attn4j.Backend;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

public class DenoiseDemoTest {
  private static final double SIGMA = 0.1;
  private static final double H = PatchTokens.filterStrength(SIGMA);

  @DataProvider
  public Object[][] orders() {
    return new Object[][] {{TokenOrder.RASTER}, {TokenOrder.TILES}};
  }

  // binary16 rounds features below 0.5 by up to 2^-13; a logit is 2/h^2 = 938 times a sum of 49
  // products of two of them, so
  // it is off by about 938 * 0.5^2 * 2^-13 / sqrt(49) = 0.004, and the output is rounded by up to
  // 2^-12: 0.002 is twice the
  // sum, relative to colours around 0.4.
  private static final double ROUNDING = 2e-3;

  @Test(dataProvider = "orders")
  public void attentionOnTheCpuIsNonLocalMeans(TokenOrder order) throws IOException {
    Picture clean = photograph().centreSquare(37); // no multiple of a tile
    Picture noisy = clean.withNoise(SIGMA, 3);
    PatchTokens tokens = new PatchTokens(noisy, H, order);
    BackendRun run = BackendRun.of(Backend.CPU, tokens);
    Picture denoised = tokens.picture(run.output(), 37, 37);

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
    List<DenoiseDemo.Row> rows;
    try (PrintStream log = new PrintStream(printed, true, StandardCharsets.UTF_8)) {
      rows = new DenoiseDemo(options, log).run();
    }

    assertEquals(rows.size(), 1);
    double noisyPsnr = Picture.read(out.resolve("noisy.png")).psnr(clean(64));
    assertEquals(noisyPsnr, 20, 0.5); // -20 lg 0.1, a little more where the noise is cut off
    // Measured: 5.2 dB. Non-local means gains more on larger pictures, which repeat themselves
    // more.
    assertTrue(rows.get(0).psnr() > noisyPsnr + 5, "PSNR " + rows.get(0).psnr());
    assertTrue(rows.get(0).error() < 5e-4, "error " + rows.get(0).error());
    for (String name : List.of("clean", "denoised-cpu", "difference-cpu", "overview-cpu")) {
      assertTrue(Files.size(out.resolve(name + ".png")) > 0, name);
    }
    assertTrue(printed.toString(StandardCharsets.UTF_8).contains("cpu"));
  }

  @Test(dataProvider = "orders")
  public void everyPixelIsOneToken(TokenOrder order) {
    int[] pixels = order.pixels(37, 21);
    assertEquals(IntStream.of(pixels).sorted().toArray(), IntStream.range(0, 37 * 21).toArray());
  }

  @Test
  public void aTileIs16PixelsWideAnd8High() {
    int[] pixels = TokenOrder.TILES.pixels(64, 64);
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
    assertThrows(IllegalArgumentException.class, () -> DemoOptions.parse("--order", "hilbert"));
    assertThrows(IllegalArgumentException.class, () -> BackendChoice.of(List.of("gpu")));
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
