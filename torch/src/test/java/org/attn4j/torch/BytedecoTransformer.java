package org.attn4j.torch;

import org.bytedeco.pytorch.AutoGradMode;
import org.bytedeco.pytorch.JitModule;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Runs the file of {@link ModelFile} by bytedeco's PyTorch; see {@link DjlTransformer}. */
final class BytedecoTransformer {
  private BytedecoTransformer() {}

  @SuppressWarnings("try") // the guard is there to be closed
  public static void main(String[] arguments) {
    JitModule model = torch.load(arguments[0]);
    Tensor numbers = torch.arange(new Scalar(2 * 33 * 64f)).view(2, 33, 64);
    Tensor x = numbers.to(ScalarType.Float).mul(new Scalar(0.37)).sin().to(ScalarType.Half);
    Tensor step = torch.zeros(2, 1, 64).to(ScalarType.Half);
    try (AutoGradMode guard = new AutoGradMode(false)) {
      Tensor out = Hooked.forward(model, x, step).to(ScalarType.Float);
      System.out.println("sum of squares " + out.square().sum().item_float());
    }
    System.out.println("counts: " + TorchHook.counts());
  }
}
