package org.attn4j.server.diffusion;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.util.Arrays;
import org.attn4j.SparsityOptions;
import org.testng.annotations.Test;

/** The model in Java against samples/model/model.py in PyTorch, FP32, on the same weights. */
public class PainterTest {
  // PyTorch's FP32 is 2e-4 of 2.8 away from its own FP64 here (angles of up to 263 rad are
  // rounded);
  // twice that, relative to the largest number.
  private static final double ROUNDING = 1.5e-4;
  private static final int[] WORDS = {1, 3, 0, 0};
  private static final int[] OTHERS = {2, 0, 0, 0};

  private static HostPainter painter() throws IOException {
    return Formula.painter(128, 24, 2);
  }

  private static float[] picture(int height, int width) {
    return Formula.numbers(3 * height * width, 7);
  }

  private static void assertClose(float[] actual, float[] expected, double bar) {
    assertEquals(actual.length, expected.length);
    double most = 0;
    double size = 0;
    for (int i = 0; i < actual.length; i++) {
      most = Math.max(most, Math.abs(actual[i] - expected[i]));
      size = Math.max(size, Math.abs(expected[i]));
    }
    assertTrue(size > 0.1, "nothing was computed");
    assertTrue(most <= bar * Math.max(1, size), "off by " + most + " of " + size);
  }

  @Test
  public void aSquareIsAsInPyTorch() throws IOException {
    float[] v = painter().velocity(picture(16, 16), 16, 16, 0.7, WORDS);
    assertClose(v, Formula.expected().get("square.v", 1, 3, 16, 16), ROUNDING);
  }

  @Test
  public void anotherShapeIsAsInPyTorch() throws IOException {
    float[] v = painter().velocity(picture(12, 20), 12, 20, 1.3, OTHERS);
    assertClose(v, Formula.expected().get("wide.v", 1, 3, 12, 20), ROUNDING);
  }

  @Test
  public void anglesAreAsInPyTorch() throws IOException {
    float[] expected = Formula.expected().get("angles", 6);
    double[] angles = Sampler.angles(5, 128);
    for (int i = 0; i < expected.length; i++) {
      assertEquals(angles[i], expected[i], 1e-6);
    }
  }

  @Test
  public void ddimIsAsInPyTorch() throws IOException {
    float[] x = Sampler.DDIM.sample(painter(), picture(16, 16), 16, WORDS, 5, 1.5, (n, ms) -> {});
    assertClose(x, Formula.expected().get("ddim", 1, 3, 16, 16), 5 * ROUNDING); // five steps
  }

  @Test
  public void eulerIsAsInPyTorch() throws IOException {
    float[] x = Sampler.EULER.sample(painter(), picture(16, 16), 16, OTHERS, 4, 1, (n, ms) -> {});
    assertClose(x, Formula.expected().get("euler", 1, 3, 16, 16), 5 * ROUNDING);
  }

  @Test
  public void sparseIsDenseWhereNothingIsLeftOut() throws IOException {
    HostPainter dense = painter();
    float[] expected = dense.velocity(picture(32, 32), 32, 32, 0.7, WORDS);
    HostPainter all = dense.with(SparsityOptions.DEFAULTS.withSimthreshd1(1));
    assertClose(all.velocity(picture(32, 32), 32, 32, 0.7, WORDS), expected, ROUNDING);
    assertEquals(all.leftOut(), 0.0);
    HostPainter some =
        dense.with(SparsityOptions.DEFAULTS.withSimthreshd1(-1).withCdfthreshd(0.5f));
    float[] sparse = some.velocity(picture(32, 32), 32, 32, 0.7, WORDS);
    assertTrue(some.leftOut() > 0.2 && some.leftOut() < 1, "left out " + some.leftOut());
    assertTrue(!Arrays.equals(sparse, expected));
  }

  @Test
  public void theSameSeedIsTheSameNoise() {
    assertEquals(Sampler.noise(16, 5), Sampler.noise(16, 5));
    assertTrue(!Arrays.equals(Sampler.noise(16, 5), Sampler.noise(16, 6)));
  }

  @Test
  public void filesThatAreWrongAreRefused() throws IOException {
    byte[] file = Formula.weights(64, 16, 1);
    String cut =
        expectThrows(
                IOException.class, () -> Safetensors.read(Arrays.copyOf(file, file.length - 1)))
            .getMessage();
    assertTrue(cut.contains("header can't be read") || cut.contains("doesn't lie"), cut);
    assertTrue(
        expectThrows(IOException.class, () -> Safetensors.read(new byte[4]))
            .getMessage()
            .startsWith("no safetensors file"));
    String other =
        expectThrows(
                IllegalArgumentException.class,
                () -> HostPainter.of(Formula.facts(64, 32, 1), Safetensors.read(file)))
            .getMessage();
    assertTrue(other.contains("shape"), other);
    assertTrue(
        expectThrows(IOException.class, () -> ModelFacts.parse("{\"dim\": 65}"))
            .getMessage()
            .startsWith("model.json lacks"));
  }
}
