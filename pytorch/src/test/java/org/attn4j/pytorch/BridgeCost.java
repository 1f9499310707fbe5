package org.attn4j.pytorch;

import java.util.Arrays;
import java.util.Locale;
import java.util.function.Supplier;
import org.attn4j.AttentionOptions;
import org.attn4j.Backend;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * What the drop-in adds to PyTorch's own call, measured with tensors of length 1; and, with the
 * argument {@code cpu}, PyTorch's kernels against our CPU backend. Prints one JSON object per line.
 */
public final class BridgeCost {
  private static final int ROUNDS = 31;
  private static final int CALLS = 2000;

  private BridgeCost() {}

  /** Runs the measurements. */
  public static void main(String[] args) {
    if (args.length > 0 && args[0].equals("cpu")) {
      compareCpuServers();
      return;
    }
    try (Tensor one = torch.randn(1, 1, 1, 64);
        Tensor packed = torch.randn(1, 1, 64)) {
      double pytorch = median(() -> torch.scaled_dot_product_attention(one, one, one), CALLS);
      print("pytorch", pytorch, 0);
      double fallThrough = median(() -> Attn4j.scaled_dot_product_attention(one, one, one), CALLS);
      print("drop-in, PyTorch serves", fallThrough, fallThrough - pytorch);
      double views = median(() -> Attn4j.attention(packed, packed, packed, 1), CALLS);
      print("packed heads, PyTorch serves", views, views - pytorch);
      AttentionOptions cpu = AttentionOptions.builder().backend(Backend.CPU).build();
      double own = median(() -> Attn4j.scaled_dot_product_attention(one, one, one, cpu), CALLS);
      print("drop-in, our CPU backend serves", own, own - pytorch);
    }
  }

  private static void compareCpuServers() {
    long[][] shapes = {{1, 1, 1, 64}, {1, 8, 64, 64}, {1, 8, 512, 64}, {1, 8, 2048, 64}};
    for (ScalarType type : new ScalarType[] {ScalarType.Float, ScalarType.BFloat16}) {
      for (long[] shape : shapes) {
        try (Tensor q = torch.randn(shape, Torch.options(type, false))) {
          AttentionOptions cpu = AttentionOptions.builder().backend(Backend.CPU).build();
          int calls = (int) Math.max(1, 200_000 / (shape[2] * shape[2] + 100));
          double pytorch = median(() -> torch.scaled_dot_product_attention(q, q, q), calls);
          double own = median(() -> Attn4j.scaled_dot_product_attention(q, q, q, cpu), calls);
          System.out.printf(
              Locale.ROOT,
              "{\"bench\": \"cpu_servers\", \"type\": \"%s\", \"shape\": \"%s\","
                  + " \"pytorch_us\": %.1f, \"cpu_backend_us\": %.1f}%n",
              type,
              Arrays.toString(shape),
              pytorch,
              own);
        }
      }
    }
  }

  private static double median(Supplier<Tensor> call, int calls) {
    double[] micros = new double[ROUNDS];
    for (int round = -10; round < ROUNDS; round++) { // the first ones warm up
      long start = System.nanoTime();
      for (int i = 0; i < calls; i++) {
        call.get().close();
      }
      if (round >= 0) {
        micros[round] = (System.nanoTime() - start) / 1e3 / calls;
      }
    }
    Arrays.sort(micros);
    return micros[ROUNDS / 2];
  }

  private static void print(String what, double micros, double above) {
    System.out.printf(
        Locale.ROOT,
        "{\"bench\": \"bridge_cost\", \"call\": \"%s\", \"us\": %.2f, \"above_pytorch_us\": %.2f}%n",
        what,
        micros,
        above);
  }
}
