package org.attn4j.torch;

import org.bytedeco.pytorch.AutoGradMode;
import org.bytedeco.pytorch.IValue;
import org.bytedeco.pytorch.IValueVector;
import org.bytedeco.pytorch.JitModule;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A program of bytedeco's PyTorch that loads a TorchScript model and runs it. It names no class of
 * attn4j but to print the counts at the end, which it does only if it is told to.
 */
final class BytedecoProgram {
  private BytedecoProgram() {}

  @SuppressWarnings("try") // the guard is there to be closed
  public static void main(String[] arguments) {
    JitModule model = torch.load(arguments[0]);
    Tensor x = torch.ones(2, 4, 33, 64).to(ScalarType.BFloat16);
    try (AutoGradMode guard = new AutoGradMode(false)) {
      IValueVector inputs = new IValueVector();
      for (int i = 0; i < 3; i++) {
        inputs.push_back(new IValue(x));
      }
      System.out.println("rows " + model.forward(inputs).toTensor().size(2));
    }
    if (Boolean.getBoolean("printCounts")) {
      System.out.println("counts: " + TorchHook.counts());
    }
  }
}
