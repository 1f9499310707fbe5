package org.attn4j.pytorch;

import static org.testng.Assert.assertTrue;

import java.nio.file.Path;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.AutoGradMode;
import org.bytedeco.pytorch.IValue;
import org.bytedeco.pytorch.IValueVector;
import org.bytedeco.pytorch.JitModule;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.Test;

/** {@link HookModelBench} compares two ways to run a model: they have to be the same model. */
public class JavaPainterTest {
  private static final Path MODEL =
      Path.of("../server/src/test/resources/org/attn4j/server/diffusion/small.pt");

  @Test
  @SuppressWarnings("try") // guard and scope are there to be closed
  public void computesWhatTheFileComputes() {
    torch.manual_seed(18);
    try (AutoGradMode guard = new AutoGradMode(false);
        PointerScope scope = new PointerScope();
        JitModule model = torch.load(MODEL.toString())) {
      model.to(ScalarType.Float, false);
      JavaPainter painter = new JavaPainter(model, torch::scaled_dot_product_attention);
      Tensor picture = torch.randn(2, 3, 12, 20);
      Tensor phi = torch.tensor(new float[] {0.3f, 1.2f});
      Tensor words = torch.tensor(new long[] {1, 3, 0, 0, 2, 0, 0, 0}).reshape(2, 4);
      Tensor expected =
          model
              .forward(new IValueVector(new IValue(picture), new IValue(phi), new IValue(words)))
              .toTensor();
      Torch.Difference difference =
          Torch.Difference.of(painter.forward(picture, phi, words), expected);
      assertTrue(difference.relativeL1() < 1e-5, difference.toString()); // fp32, other orders
      assertTrue(expected.abs().mean().item_double() > 0.1, "nothing was computed");
    }
  }
}
