package org.attn4j.pytorch;

import java.util.Arrays;
import java.util.Locale;
import java.util.function.Supplier;
import org.attn4j.AttentionOptions;
import org.attn4j.SdpaBackend;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** PyTorch's CPU kernels against our CPU backend. Prints one JSON object per line. */
public final class CpuServers {
  private static final int ROUNDS = 31;

  private CpuServers() {}

  /** Runs the measurements. */
  public static void main(String[] args) {
    long[][] shapes = {{1, 1, 1, 64}, {1, 8, 64, 64}, {1, 8, 512, 64}, {1, 8, 2048, 64}};
    for (ScalarType type : new ScalarType[] {ScalarType.Float, ScalarType.BFloat16}) {
      for (long[] shape : shapes) {
        try (Tensor q = torch.randn(shape, Torch.options(type, false))) {
          AttentionOptions cpu = AttentionOptions.builder().backend(SdpaBackend.CPU).build();
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
}
