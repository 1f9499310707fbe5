package org.attn4j.server.diffusion;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import org.testng.annotations.Test;

/** The model as TorchScript in PyTorch gives what the model in Java gives, on the same weights. */
public class TorchPainterTest {
  private static final double ROUNDING = 1.5e-4; // as PainterTest's

  private static Path file() throws IOException {
    Path file = Files.createTempFile("attn4j", ".pt");
    try (InputStream in = Formula.class.getResourceAsStream("small.pt")) {
      Files.write(file, in.readAllBytes());
    }
    return file;
  }

  @Test
  public void torchScriptAndJavaAgree() throws IOException {
    HostPainter java = Formula.painter(64, 16, 1);
    try (TorchPainter torch = TorchPainter.load(file())) {
      for (int side : new int[] {16, 32}) {
        float[] x = Formula.numbers(3 * side * side, 9);
        int[] words = {2, 1, 0, 0};
        float[] expected = java.velocity(x, side, side, 0.9, words);
        float[] actual = torch.velocity(x, side, side, 0.9, words);
        assertEquals(actual.length, expected.length);
        double most = 0;
        double size = 0;
        for (int i = 0; i < actual.length; i++) {
          most = Math.max(most, Math.abs(actual[i] - expected[i]));
          size = Math.max(size, Math.abs(expected[i]));
        }
        assertTrue(size > 0.1, "nothing was computed");
        assertTrue(most <= ROUNDING * Math.max(1, size), "off by " + most + " of " + size);
      }
      assertTrue(torch.backend().contains("orch"), torch.backend());
      assertTrue(!torch.kernel().isEmpty());
    }
  }

  @Test
  public void anotherFileIsRefused() throws IOException {
    Path file = Files.writeString(Files.createTempFile("attn4j", ".pt"), "no model");
    assertTrue(
        expectThrows(IOException.class, () -> TorchPainter.load(file))
            .getMessage()
            .contains("is no TorchScript model"));
  }
}
