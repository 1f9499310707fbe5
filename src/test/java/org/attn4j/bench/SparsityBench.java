package org.attn4j.bench;

import java.util.Locale;
import java.util.Random;
import org.attn4j.Attention;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.BackendMode;
import org.attn4j.CudaEvent;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceTensor;
import org.attn4j.SageKernel;
import org.attn4j.SdpaBackend;
import org.attn4j.SparsityOptions;
import org.attn4j.SparsityProfile;
import org.attn4j.SparsityTensors;
import org.attn4j.SparsityTuner;
import org.attn4j.TokenOrder;

/**
 * What the order of tokens does to sparsity: a smooth random field over frames, rows and columns,
 * as a video has it, in raster order and along the Hilbert curve. One JSON line for each order and
 * setting: the share of blocks left out, relative L1 against exact attention, milliseconds. First
 * dense SageAttention, by the kernel that it picks itself and by the one of SpargeAttn's kind, then
 * SpargeAttn with the default thresholds, with a lower simthreshd1, and with what the tuner finds.
 *
 * <pre>SparsityBench [frames height width]</pre>
 */
public final class SparsityBench {
  private static final int HEADS = 8;
  private static final int HEAD_DIM = 64;
  private static final int REPEATS = 5;

  private final int frames;
  private final int height;
  private final int width;
  private final CudaStream stream;

  private SparsityBench(int frames, int height, int width, CudaStream stream) {
    this.frames = frames;
    this.height = height;
    this.width = width;
    this.stream = stream;
  }

  /** Runs it. */
  public static void main(String[] args) {
    int[] sizes = {8, 32, 64};
    for (int i = 0; i < args.length; i++) {
      sizes[i] = Integer.parseInt(args[i]);
    }
    try (CudaStream stream = CudaStream.create(0)) {
      SparsityBench bench = new SparsityBench(sizes[0], sizes[1], sizes[2], stream);
      int tokens = sizes[0] * sizes[1] * sizes[2];
      bench.run("raster", TokenOrder.tiles(1, tokens, 1, tokens));
      bench.run("hilbert", TokenOrder.hilbert(sizes[0], sizes[1], sizes[2]));
    }
  }

  private int tokens() {
    return frames * height * width;
  }

  /** Waves of random direction and phase, most of them long, times {@code strength}. */
  private float[] field(long seed, float strength) {
    Random random = new Random(seed);
    float[] values = new float[HEADS * tokens() * HEAD_DIM];
    for (int h = 0; h < HEADS; h++) {
      for (int c = 0; c < HEAD_DIM; c++) {
        double[] wave = new double[4];
        for (int i = 0; i < 3; i++) {
          wave[i] = random.nextGaussian() * 0.12;
        }
        wave[3] = random.nextDouble() * 2 * Math.PI;
        for (int i = 0; i < tokens(); i++) {
          int x = i % width;
          int y = i / width % height;
          int t = i / width / height;
          double angle = wave[0] * t + wave[1] * y + wave[2] * x + wave[3];
          values[(h * tokens() + i) * HEAD_DIM + c] = strength * (float) Math.cos(angle);
        }
      }
    }
    return values;
  }

  private DeviceTensor arranged(TokenOrder order, float[] values) {
    float[] all = new float[values.length];
    int perHead = tokens() * HEAD_DIM;
    for (int h = 0; h < HEADS; h++) {
      float[] head = java.util.Arrays.copyOfRange(values, h * perHead, (h + 1) * perHead);
      System.arraycopy(order.arrange(head, HEAD_DIM), 0, all, h * perHead, perHead);
    }
    return DeviceTensor.of(0, DType.FLOAT16, all, 1, HEADS, tokens(), HEAD_DIM);
  }

  /** One order's tensors, and the exact result on them. */
  private final class Problem implements AutoCloseable {
    private final String order;
    private final DeviceTensor q;
    private final DeviceTensor k;
    private final DeviceTensor v;
    private final DeviceTensor o =
        DeviceTensor.allocate(0, DType.FLOAT16, 1, HEADS, tokens(), HEAD_DIM);
    private final DeviceTensor share = DeviceTensor.allocate(0, DType.FLOAT32, 1, HEADS);
    private final float[] exact;

    Problem(String name, TokenOrder order) {
      this.order = name;
      float[] tokens = field(1, 2.5f);
      q = arranged(order, tokens);
      k = arranged(order, tokens);
      v = arranged(order, field(2, 1));
      Attention.sdpa(request(options(SdpaBackend.EXACT).build()).build());
      exact = o.toFloatArray(stream);
    }

    AttentionRequest.Builder request(AttentionOptions options) {
      return AttentionRequest.builder().q(q).k(k).v(v).o(o).options(options).stream(stream);
    }

    void dense(SageKernel kernel) {
      double ms =
          milliseconds(request(options(SdpaBackend.SAGE).sageKernel(kernel).build()).build());
      print("sage, " + kernel, "none", 0, ms);
    }

    void sparse(String thresholds, SparsityOptions sparsity) {
      AttentionOptions options = options(SdpaBackend.SPARGE).sparsity(sparsity).build();
      SparsityTensors report = SparsityTensors.builder().sparsity(share).build();
      double ms = milliseconds(request(options).sparsityTensors(report).build());
      print("sparge", thresholds, mean(share.toFloatArray(stream)), ms);
    }

    void tuned(SparsityTuner.Budget budget) {
      AttentionOptions options = options(SdpaBackend.SPARGE).build();
      long start = System.nanoTime();
      SparsityProfile profile = SparsityTuner.tune(request(options).build(), budget);
      double seconds = (System.nanoTime() - start) * 1e-9;
      try (SparsityProfile.Tensors thresholds = profile.toDevice(0)) {
        SparsityTensors tensors = thresholds.tensors().sparsity(share).build();
        double ms = milliseconds(request(options).sparsityTensors(tensors).build());
        String how =
            String.format(
                Locale.ROOT,
                "tuned in %.1f s, budget %.3f and %.3f",
                seconds,
                budget.l1(),
                budget.pvL1());
        print("sparge", how, mean(share.toFloatArray(stream)), ms);
      }
    }

    private void print(String backend, String thresholds, double sparsity, double ms) {
      System.out.printf(
          Locale.ROOT,
          "{\"frames\": %d, \"height\": %d, \"width\": %d, \"order\": \"%s\", \"backend\": \"%s\","
              + " \"thresholds\": \"%s\", \"sparsity\": %.4f, \"l1\": %.5f, \"ms\": %.4f}%n",
          frames,
          height,
          width,
          order,
          backend,
          thresholds,
          sparsity,
          error(o.toFloatArray(stream), exact),
          ms);
    }

    @Override
    public void close() {
      q.close();
      k.close();
      v.close();
      o.close();
      share.close();
    }
  }

  private static AttentionOptions.Builder options(SdpaBackend backend) {
    return AttentionOptions.builder().backend(backend).mode(BackendMode.REQUIRE);
  }

  private void run(String name, TokenOrder order) {
    try (Problem problem = new Problem(name, order)) {
      problem.dense(SageKernel.AUTO);
      problem.dense(SageKernel.QK_INT8_PV_FP16);
      problem.sparse("default", SparsityOptions.DEFAULTS);
      problem.sparse("simthreshd1 0.3", SparsityOptions.DEFAULTS.withSimthreshd1(0.3f));
      problem.tuned(SparsityTuner.Budget.DEFAULT);
    }
  }

  private double milliseconds(AttentionRequest request) {
    Attention.sdpa(request);
    try (CudaEvent start = CudaEvent.create(0);
        CudaEvent end = CudaEvent.create(0)) {
      start.record(stream);
      for (int i = 0; i < REPEATS; i++) {
        Attention.sdpa(request);
      }
      end.record(stream);
      return start.millisUntil(end) / REPEATS;
    }
  }

  private static double error(float[] output, float[] exact) {
    double error = 0;
    double norm = 0;
    for (int i = 0; i < exact.length; i++) {
      error += Math.abs(output[i] - exact[i]);
      norm += Math.abs(exact[i]);
    }
    return error / norm;
  }

  private static double mean(float[] values) {
    double sum = 0;
    for (float value : values) {
      sum += value;
    }
    return sum / values.length;
  }
}
