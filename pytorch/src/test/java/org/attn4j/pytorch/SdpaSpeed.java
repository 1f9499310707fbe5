package org.attn4j.pytorch;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.IntFunction;
import java.util.function.ToDoubleFunction;
import org.attn4j.AttentionOptions;
import org.attn4j.BackendMode;
import org.attn4j.SageKernel;
import org.attn4j.SdpaBackend;
import org.attn4j.SparsityOptions;
import org.attn4j.UnsupportedAttentionException;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * What a Java program waits for one attention call on the GPU: PyTorch's SDPA, ours in auto mode,
 * and each of our kernels that serves the shape. Rounds of all servers take turns, and calls take
 * turns among inputs that together don't fit the L2 cache; the median round counts.
 *
 * <p>Prints one JSON object per shape and server: {@code us} with the calls back to back until the
 * last is done, {@code host_us} of enqueuing alone, {@code gpu_us} on the GPU's clock with the host
 * ahead. Then one line with the worst ratio of auto mode. The argument is after how many seconds no
 * further shape is started (60).
 */
public final class SdpaSpeed {
  private static final int ROUNDS = 7;
  private static final long CACHE_BYTES = 150L << 20;
  private static final long MAX_INPUTS = 16;
  private static final long SPARSE_KEYS = 4096; // below, sparsity isn't tried by itself either

  private static final TensorOptional NO_MASK = new TensorOptional().retainReference();
  private static final DoubleOptional NO_SCALE = new DoubleOptional().retainReference();

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

  /** Who is measured; {@code calls} is 0 if it doesn't serve the shape. */
  private record Server(
      String name, IntFunction<Tensor> call, int calls, List<CallTimer.Times> rounds) {

    double median(ToDoubleFunction<CallTimer.Times> part) {
      double[] sorted = rounds.stream().mapToDouble(part).sorted().toArray();
      return sorted.length == 0 ? Double.NaN : sorted[sorted.length / 2];
    }
  }

  private record Inputs(Tensor q, Tensor k, Tensor v) {
    void close() {
      q.close();
      k.close();
      v.close();
    }
  }

  /** Measures all shapes. */
  public static void main(String[] args) {
    if (!torch.cuda_is_available()) {
      System.out.println("{\"bench\": \"sdpa_speed\", \"skipped\": \"no CUDA device\"}");
      return;
    }
    long limit = args.length > 0 ? Long.parseLong(args[0]) : 60;
    long end = System.nanoTime() + limit * 1_000_000_000L;
    double worst = 0;
    String worstShape = "";
    int measured = 0;
    try (CallTimer timer = new CallTimer()) {
      measure(SHAPES[0], timer, false); // for the JVM's compilers, which the first shape would pay
      for (Shape shape : SHAPES) {
        if (System.nanoTime() > end) {
          System.out.printf(
              "{\"bench\": \"sdpa_speed\", \"shape\": \"%s\", \"skipped\": \"out of time\"}%n",
              shape.name());
          continue;
        }
        double ratio = measure(shape, timer, true);
        measured++;
        if (ratio > worst) {
          worst = ratio;
          worstShape = shape.name();
        }
      }
    }
    System.out.printf(
        Locale.ROOT,
        "{\"bench\": \"sdpa_speed_summary\", \"shapes\": %d, \"worst_auto_to_pytorch\": %.3f,"
            + " \"worst_shape\": \"%s\"}%n",
        measured,
        worst,
        worstShape);
  }

  /** The ratio of auto mode to PyTorch. Without a PointerScope, which would cost each call. */
  private static double measure(Shape s, CallTimer timer, boolean prints) {
    List<Inputs> inputs = draw(s);
    List<Server> servers = servers(s, inputs, timer);
    for (int round = 0; round < ROUNDS; round++) {
      for (Server server : servers) {
        if (server.calls() > 0) {
          server.rounds().add(timer.round(server.call(), server.calls()));
        }
      }
    }
    inputs.forEach(Inputs::close);
    Server pytorch = servers.get(0);
    for (Server server : servers) {
      if (prints) {
        print(s, server, pytorch);
      }
    }
    return servers.get(1).median(CallTimer.Times::wall) / pytorch.median(CallTimer.Times::wall);
  }

  private static List<Inputs> draw(Shape s) {
    TensorOptions half = Torch.options(ScalarType.Half, true);
    long[] queries = {s.batch(), s.heads(), s.queries(), s.headDim()};
    long[] keys = {s.batch(), s.headsKv(), s.keys(), s.headDim()};
    long elements =
        s.batch() * s.headDim() * (s.heads() * s.queries() + 2 * s.headsKv() * s.keys());
    long sets = Math.max(1, Math.min(MAX_INPUTS, CACHE_BYTES / (2 * elements) + 1));
    List<Inputs> inputs = new ArrayList<>();
    for (long i = 0; i < sets; i++) {
      inputs.add(
          new Inputs(torch.randn(queries, half), torch.randn(keys, half), torch.randn(keys, half)));
    }
    return inputs;
  }

  private static List<Server> servers(Shape s, List<Inputs> inputs, CallTimer timer) {
    boolean grouped = s.heads() != s.headsKv();
    IntFunction<Tensor> pytorch =
        n -> {
          Inputs in = inputs.get(n % inputs.size());
          return torch.scaled_dot_product_attention(
              in.q(), in.k(), in.v(), NO_MASK, 0, false, NO_SCALE, grouped);
        };
    IntFunction<Tensor> ours =
        n -> {
          Inputs in = inputs.get(n % inputs.size());
          return Attn4j.scaled_dot_product_attention(
              in.q(), in.k(), in.v(), NO_MASK, 0, false, NO_SCALE, grouped);
        };
    List<Server> servers = new ArrayList<>();
    servers.add(server("pytorch", pytorch, timer));
    servers.add(server("auto", ours, timer));
    servers.add(server("exact", with(only(SdpaBackend.EXACT).build(), ours), timer));
    for (SageKernel kernel : List.of(SageKernel.QK_INT8_PV_FP16, SageKernel.QK_INT8_PV_FP8_SM90)) {
      String name = "sage_" + kernel.name().toLowerCase(Locale.ROOT);
      AttentionOptions options = only(SdpaBackend.SAGE).sageKernel(kernel).build();
      servers.add(server(name, with(options, ours), timer));
    }
    if (s.keys() >= SPARSE_KEYS) {
      AttentionOptions half =
          only(SdpaBackend.SPARGE).sparsity(SparsityOptions.byTopk(0.5f)).build();
      servers.add(server("sparge_topk_0.5", with(half, ours), timer));
    }
    return servers;
  }

  private static AttentionOptions.Builder only(SdpaBackend backend) {
    return AttentionOptions.builder().backend(backend).mode(BackendMode.REQUIRE);
  }

  private static IntFunction<Tensor> with(AttentionOptions options, IntFunction<Tensor> call) {
    return n -> {
      try (AttentionScope scope = Attn4j.use(options)) {
        return scope.options() == options ? call.apply(n) : null;
      }
    };
  }

  /** Warms the server up. */
  private static Server server(String name, IntFunction<Tensor> call, CallTimer timer) {
    int calls;
    try {
      calls = timer.calls(call);
      timer.round(call, calls);
    } catch (UnsupportedAttentionException e) {
      calls = 0;
    }
    return new Server(name, call, calls, new ArrayList<>());
  }

  private static void print(Shape s, Server server, Server pytorch) {
    double wall = server.median(CallTimer.Times::wall);
    double gpu = server.median(CallTimer.Times::gpu);
    System.out.printf(
        Locale.ROOT,
        "{\"bench\": \"sdpa_speed\", \"shape\": \"%s\", \"b\": %d, \"hq\": %d, \"hkv\": %d,"
            + " \"lq\": %d, \"lk\": %d, \"d\": %d, \"server\": \"%s\", \"us\": %s,"
            + " \"host_us\": %s, \"gpu_us\": %s, \"ratio_to_pytorch\": %s,"
            + " \"gpu_ratio_to_pytorch\": %s}%n",
        s.name(),
        s.batch(),
        s.heads(),
        s.headsKv(),
        s.queries(),
        s.keys(),
        s.headDim(),
        server.name(),
        number(wall),
        number(server.median(CallTimer.Times::host)),
        number(gpu),
        number(wall / pytorch.median(CallTimer.Times::wall)),
        number(gpu / pytorch.median(CallTimer.Times::gpu)));
  }

  private static String number(double value) {
    return Double.isNaN(value) ? "null" : String.format(Locale.ROOT, "%.3f", value);
  }
}
