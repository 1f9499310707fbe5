package org.attn4j.bench;

import java.util.Locale;
import java.util.Random;
import org.attn4j.Attention;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.Backend;
import org.attn4j.BackendMode;
import org.attn4j.CudaEvent;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceTensor;
import org.attn4j.SageKernel;
import org.attn4j.SparsityOptions;
import org.attn4j.SparsityProfile;
import org.attn4j.SparsityTensors;
import org.attn4j.SparsityTuner;
import org.attn4j.TokenOrder;

/**
 * What the order of tokens does to sparsity: a smooth random field over frames, rows and columns,
 * as a video has it, in raster order, in tiles and along the Hilbert curve. One JSON line each:
 * sparsity with the default thresholds, relative L1 against exact attention, milliseconds beside
 * the dense kernel of the same kind. Then the same with thresholds that the tuner found.
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

  private void run(String name, TokenOrder order) {
    float[] tokens = field(1, 2.5f);
    try (DeviceTensor q = arranged(order, tokens);
        DeviceTensor k = arranged(order, tokens);
        DeviceTensor v = arranged(order, field(2, 1));
        DeviceTensor o = DeviceTensor.allocate(0, DType.FLOAT16, 1, HEADS, tokens(), HEAD_DIM);
        DeviceTensor share = DeviceTensor.allocate(0, DType.FLOAT32, 1, HEADS)) {
      AttentionRequest.Builder request =
          AttentionRequest.builder().q(q).k(k).v(v).o(o).stream(stream);
      AttentionOptions.Builder options =
          AttentionOptions.builder()
              .mode(BackendMode.REQUIRE)
              .sageKernel(SageKernel.QK_INT8_PV_FP16);
      Attention.sdpa(request.options(options.backend(Backend.EXACT).build()).build());
      float[] exact = o.toFloatArray(stream);
      AttentionRequest dense = request.options(options.backend(Backend.SAGE).build()).build();
      double denseMs = milliseconds(dense);
      double denseError = error(o.toFloatArray(stream), exact);
      request.options(options.backend(Backend.SPARGE).build());
      print(name + ", dense", 0, denseError, denseMs);
      for (float similarity : new float[] {0.6f, 0.3f}) {
        AttentionOptions sparse =
            options.sparsity(SparsityOptions.DEFAULTS.withSimthreshd1(similarity)).build();
        SparsityTensors report = SparsityTensors.builder().sparsity(share).build();
        AttentionRequest one = request.options(sparse).sparsityTensors(report).build();
        double ms = milliseconds(one);
        print(
            name + ", simthreshd1 " + similarity,
            mean(share.toFloatArray(stream)),
            error(o.toFloatArray(stream), exact),
            ms);
      }
      long start = System.nanoTime();
      SparsityProfile profile =
          SparsityTuner.tune(
              request.sparsityTensors(SparsityTensors.NONE).build(), SparsityTuner.Budget.DEFAULT);
      double seconds = (System.nanoTime() - start) * 1e-9;
      try (SparsityProfile.Tensors thresholds = profile.toDevice(0)) {
        AttentionRequest tuned =
            request.sparsityTensors(thresholds.tensors().sparsity(share).build()).build();
        double ms = milliseconds(tuned);
        print(
            String.format(Locale.ROOT, "%s, tuned in %.1f s", name, seconds),
            mean(share.toFloatArray(stream)),
            error(o.toFloatArray(stream), exact),
            ms);
      }
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

  private void print(String what, double sparsity, double l1, double ms) {
    System.out.printf(
        Locale.ROOT,
        "{\"tokens\": %d, \"what\": \"%s\", \"sparsity\": %.3f, \"l1\": %.4f, \"ms\": %.3f}%n",
        tokens(),
        what,
        sparsity,
        l1,
        ms);
  }
}
