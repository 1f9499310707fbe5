package org.attn4j.torch;

import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** Attention on a thread that was made by native code. */
final class ForeignProgram {
  private ForeignProgram() {}

  /** How many of the calls failed. */
  private static native int call(long q, long k, int times);

  public static void main(String[] arguments) {
    Tensor q = torch.randn(1, 2, 4, 16).to(ScalarType.BFloat16);
    TorchHook.install().ifPresent(System.out::println);
    System.load(arguments[0]);
    System.out.println("failures " + call(q.address(), q.address(), 1000));
    System.out.println("counts: " + TorchHook.counts());
  }
}
