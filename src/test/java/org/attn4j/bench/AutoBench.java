package org.attn4j.bench;

import java.util.Locale;
import java.util.Random;
import java.util.stream.IntStream;
import org.attn4j.Attention;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.BackendMode;
import org.attn4j.CudaEvent;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceTensor;
import org.attn4j.SdpaBackend;
import org.attn4j.SparsityDecisions;
import org.attn4j.SparsityRule;
import org.attn4j.TokenGrid;

/**
 * What learning is worth: auto mode against dense SageAttention and SpargeAttn by name, for shapes
 * and data. One JSON line for each: milliseconds of sage, of sparge, of the first ten calls of auto
 * mode and of later ones, each as a ratio to the better of the two fixed choices; the share left
 * out, and what it needs to be. Video tokens are in raster order, without and with a token grid.
 *
 * <pre>AutoBench [rounds]</pre>
 */
public final class AutoBench {
  private static final int FIRST = 10;
  private static final int LATER = 40;

  private final CudaStream stream;
  private final int rounds;

  private AutoBench(CudaStream stream, int rounds) {
    this.stream = stream;
    this.rounds = rounds;
  }

  /** Heads, channels and a video's sizes. */
  private record Shape(int heads, int headDim, int frames, int height, int width) {
    int tokens() {
      return frames * height * width;
    }

    /** N(0,1), or with `sink` a first key that all queries look at. */
    float[] noise(long seed, boolean isKey, boolean sink) {
      float[] values = new float[heads * tokens() * headDim];
      int head = tokens() * headDim;
      IntStream.range(0, heads)
          .parallel()
          .forEach(
              h -> {
                Random random = new Random(seed + h);
                for (int i = h * head; i < (h + 1) * head; i++) {
                  values[i] = (float) random.nextGaussian() + (sink && !isKey ? 0.5f : 0f);
                }
                for (int c = 0; sink && isKey && c < headDim; c++) {
                  values[h * head + c] = 2;
                }
              });
      return values;
    }

    /** Waves of random direction and phase, most of them long: as SparsityBench has them. */
    float[] field(long seed, float strength) {
      float[] values = new float[heads * tokens() * headDim];
      IntStream.range(0, heads * headDim)
          .parallel()
          .forEach(
              line -> {
                Random random = new Random(seed + line);
                double[] wave = new double[3];
                for (int i = 0; i < 3; i++) {
                  wave[i] = random.nextGaussian() * 0.12;
                }
                double phase = random.nextDouble() * 2 * Math.PI;
                int h = line / headDim;
                int c = line % headDim;
                for (int i = 0; i < tokens(); i++) {
                  int x = i % width;
                  int y = i / width % height;
                  int t = i / width / height;
                  double angle = wave[0] * t + wave[1] * y + wave[2] * x + phase;
                  values[(h * tokens() + i) * headDim + c] = strength * (float) Math.cos(angle);
                }
              });
      return values;
    }
  }

  /** Runs it. */
  public static void main(String[] args) {
    int rounds = args.length > 0 ? Integer.parseInt(args[0]) : 3;
    Shape[] shapes = {
      new Shape(16, 128, 8, 32, 32), new Shape(8, 128, 16, 32, 64), new Shape(16, 64, 8, 32, 64)
    };
    try (CudaStream stream = CudaStream.create(0)) {
      AutoBench bench = new AutoBench(stream, rounds);
      for (Shape shape : shapes) {
        for (boolean sink : new boolean[] {false, true}) {
          float[] q = shape.noise(1, false, sink);
          float[] k = shape.noise(1000, true, sink);
          bench.run(shape, sink ? "sink" : "noise", q, k, shape.noise(2000, true, false));
        }
        float[] tokens = shape.field(1, 2.5f);
        bench.run(shape, "video", tokens, tokens, shape.field(2, 1));
      }
    }
  }

  private void run(Shape shape, String data, float[] q, float[] k, float[] v) {
    try (DeviceTensor dq = tensor(shape, q);
        DeviceTensor dk = tensor(shape, k);
        DeviceTensor dv = tensor(shape, v);
        DeviceTensor o = tensor(shape, null)) {
      AttentionRequest.Builder builder =
          AttentionRequest.builder().q(dq).k(dk).v(dv).o(o).stream(stream);
      measure(shape, data, builder, null);
      if (data.equals("video")) {
        TokenGrid grid = TokenGrid.of(shape.frames(), shape.height(), shape.width());
        measure(shape, data + ", grid", builder, grid);
      }
    }
  }

  private static DeviceTensor tensor(Shape shape, float[] values) {
    return values == null
        ? DeviceTensor.allocate(0, DType.FLOAT16, 1, shape.heads(), shape.tokens(), shape.headDim())
        : DeviceTensor.of(
            0, DType.FLOAT16, values, 1, shape.heads(), shape.tokens(), shape.headDim());
  }

  /** The medians of rounds in which all take turns, so that none has the cooler GPU. */
  private void measure(Shape shape, String data, AttentionRequest.Builder builder, TokenGrid grid) {
    AttentionOptions.Builder options = AttentionOptions.builder().tokenGrid(grid);
    AttentionOptions auto = options.sparsityRule(SparsityRule.LEARN).build();
    options.mode(BackendMode.REQUIRE);
    AttentionRequest sage = builder.options(options.backend(SdpaBackend.SAGE).build()).build();
    AttentionRequest sparge = builder.options(options.backend(SdpaBackend.SPARGE).build()).build();
    double[][] ms = new double[4][rounds];
    SparsityDecisions.Site site = null; // none where the chain doesn't try sparsity
    for (int round = 0; round < rounds; round++) {
      AttentionRequest learning = builder.options(auto).build();
      ms[0][round] = milliseconds(sage, LATER / 2);
      ms[1][round] = milliseconds(sparge, LATER / 2);
      SparsityDecisions.forget();
      ms[2][round] = milliseconds(learning, FIRST);
      milliseconds(learning, LATER);
      ms[3][round] = milliseconds(learning, LATER);
      site = SparsityDecisions.ofThisProcess().sites().stream().findFirst().orElse(null);
    }
    double[] median = new double[4];
    for (int i = 0; i < 4; i++) {
      java.util.Arrays.sort(ms[i]);
      median[i] = ms[i][rounds / 2];
    }
    double better = Math.min(median[0], median[1]);
    System.out.printf(
        Locale.ROOT,
        "{\"heads\": %d, \"head_dim\": %d, \"tokens\": %d, \"data\": \"%s\", \"sage_ms\": %.4f,"
            + " \"sparge_ms\": %.4f, \"auto_first_ms\": %.4f, \"auto_ms\": %.4f,"
            + " \"auto_first_ratio\": %.4f, \"auto_ratio\": %.4f, \"state\": \"%s\","
            + " \"share\": %.4f, \"needed\": %.4f}%n",
        shape.heads(),
        shape.headDim(),
        shape.tokens(),
        data,
        median[0],
        median[1],
        median[2],
        median[3],
        median[2] / better,
        median[3] / better,
        site == null ? "NOT TRIED" : site.state(),
        site == null ? 0 : site.share(),
        site == null ? 0 : site.needed());
  }

  private double milliseconds(AttentionRequest request, int calls) {
    try (CudaEvent start = CudaEvent.create(0);
        CudaEvent end = CudaEvent.create(0)) {
      stream.synchronize();
      start.record(stream);
      for (int i = 0; i < calls; i++) {
        Attention.sdpa(request);
      }
      end.record(stream);
      return start.millisUntil(end) / calls;
    }
  }
}
