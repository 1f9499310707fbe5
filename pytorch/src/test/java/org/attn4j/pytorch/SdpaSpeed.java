package org.attn4j.pytorch;

import java.util.Arrays;
import java.util.Locale;
import java.util.function.Supplier;
import org.attn4j.AttentionOptions;
import org.attn4j.Backend;
import org.attn4j.BackendMode;
import org.attn4j.UnsupportedAttentionException;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.bytedeco.pytorch.global.torch_cuda;

/**
 * What a Java program waits for one attention call on the GPU: PyTorch's SDPA, ours in auto mode,
 * and each of our backends. Calls are made back to back on one stream, so that a figure is the
 * larger of host and GPU time. Rounds of all servers take turns; the median round counts. Prints
 * one JSON object per shape and server.
 */
public final class SdpaSpeed {
  private static final int ROUNDS = 3;

  private SdpaSpeed() {}

  /** A shape of a real model, from the baselines. */
  private record Shape(
      String name, long batch, long heads, long headsKv, long queries, long keys, long headDim) {}

  private static final Shape[] SHAPES = {
    new Shape("sdxl_self4096", 2, 10, 10, 4096, 4096, 64),
    new Shape("sdxl_self1024", 2, 20, 20, 1024, 1024, 64),
    new Shape("sdxl_cross77", 2, 10, 10, 4096, 77, 64),
    new Shape("flux", 1, 24, 24, 4608, 4608, 128),
    new Shape("sd15_40", 2, 8, 8, 4096, 4096, 40),
    new Shape("sd15_80", 2, 8, 8, 1024, 1024, 80),
    new Shape("sd15_160", 2, 8, 8, 256, 256, 160),
    new Shape("wan_480p", 1, 12, 12, 32760, 32760, 128),
    new Shape("cogvideox", 1, 30, 30, 17776, 17776, 64),
    new Shape("hd96", 2, 16, 16, 4096, 4096, 96),
    new Shape("gqa", 1, 32, 8, 8192, 8192, 128),
    new Shape("llm512", 1, 32, 8, 512, 512, 128),
    new Shape("d64_256", 4, 16, 16, 256, 256, 64),
    new Shape("d64_512", 4, 16, 16, 512, 512, 64),
    new Shape("d64_2048", 4, 16, 16, 2048, 2048, 64),
    new Shape("d128_256", 4, 16, 16, 256, 256, 128),
    new Shape("d128_512", 4, 16, 16, 512, 512, 128),
    new Shape("d128_1024", 4, 16, 16, 1024, 1024, 128),
    new Shape("d128_2048", 4, 16, 16, 2048, 2048, 128),
  };

  /** Who is measured. */
  private record Server(String name, Supplier<Tensor> call) {}

  /** Measures all shapes. */
  public static void main(String[] args) {
    if (!torch.cuda_is_available()) {
      System.out.println("{\"bench\": \"sdpa_speed\", \"skipped\": \"no CUDA device\"}");
      return;
    }
    for (Shape shape : SHAPES) {
      measure(shape);
    }
  }

  private static void measure(Shape s) {
    TensorOptions half = Torch.options(ScalarType.Half, true);
    TensorOptional noMask = new TensorOptional();
    DoubleOptional noScale = new DoubleOptional();
    boolean grouped = s.heads() != s.headsKv();
    try (Tensor q = torch.randn(new long[] {s.batch(), s.heads(), s.queries(), s.headDim()}, half);
        Tensor k = torch.randn(new long[] {s.batch(), s.headsKv(), s.keys(), s.headDim()}, half);
        Tensor v = torch.randn(new long[] {s.batch(), s.headsKv(), s.keys(), s.headDim()}, half)) {
      Supplier<Tensor> ours =
          () -> Attn4j.scaled_dot_product_attention(q, k, v, noMask, 0, false, noScale, grouped);
      Server[] servers = {
        new Server(
            "pytorch",
            () -> torch.scaled_dot_product_attention(q, k, v, noMask, 0, false, noScale, grouped)),
        new Server("auto", ours),
        new Server("sage", with(Backend.SAGE, ours)),
        new Server("exact", with(Backend.EXACT, ours)),
      };
      double[][] micros = new double[servers.length][];
      int[] calls = new int[servers.length];
      for (int i = 0; i < servers.length; i++) {
        calls[i] = calls(servers[i]);
        micros[i] = new double[ROUNDS];
      }
      for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < servers.length; i++) {
          micros[i][round] = calls[i] == 0 ? Double.NaN : time(servers[i], calls[i]);
        }
      }
      print(s, servers, micros);
    }
  }

  private static Supplier<Tensor> with(Backend backend, Supplier<Tensor> call) {
    AttentionOptions options =
        AttentionOptions.builder().backend(backend).mode(BackendMode.REQUIRE).build();
    return () -> {
      try (AttentionScope scope = Attn4j.use(options)) {
        return scope.options() == options ? call.get() : null;
      }
    };
  }

  /** Warms up and finds how many calls take about 10 ms; 0 if the server refuses. */
  private static int calls(Server server) {
    try {
      time(server, 3);
    } catch (UnsupportedAttentionException e) {
      return 0;
    }
    return (int) Math.max(3, Math.min(400, 10_000 / time(server, 5)));
  }

  private static double time(Server server, int calls) {
    torch_cuda.getCurrentCUDAStream().synchronize();
    long start = System.nanoTime();
    for (int i = 0; i < calls; i++) {
      server.call().get().close();
    }
    torch_cuda.getCurrentCUDAStream().synchronize();
    return (System.nanoTime() - start) / 1e3 / calls;
  }

  private static void print(Shape s, Server[] servers, double[][] micros) {
    double base = median(micros[0]);
    for (int i = 0; i < servers.length; i++) {
      double median = median(micros[i]);
      System.out.printf(
          Locale.ROOT,
          "{\"bench\": \"sdpa_speed\", \"shape\": \"%s\", \"b\": %d, \"hq\": %d, \"hkv\": %d,"
              + " \"lq\": %d, \"lk\": %d, \"d\": %d, \"server\": \"%s\", \"us\": %s,"
              + " \"ratio_to_pytorch\": %s}%n",
          s.name(),
          s.batch(),
          s.heads(),
          s.headsKv(),
          s.queries(),
          s.keys(),
          s.headDim(),
          servers[i].name(),
          number(median),
          number(median / base));
    }
  }

  private static double median(double[] values) {
    double[] sorted = values.clone();
    Arrays.sort(sorted);
    return sorted[sorted.length / 2];
  }

  private static String number(double value) {
    return Double.isNaN(value) ? "null" : String.format(Locale.ROOT, "%.3f", value);
  }
}
