package org.attn4j;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * Finds, per head, the thresholds that leave out most at a bounded error, on queries, keys and
 * values captured from a model (SpargeAttn, arXiv:2502.18137, section 3.6).
 *
 * <p>All heads are searched at once: one sparse call measures every head with thresholds of its
 * own, and about fifty calls make a profile.
 */
public final class SparsityTuner {
  private static final float[] SIMILARITIES = {0.8f, 0.6f, 0.4f, 0.2f, 0f, -0.2f};
  private static final int STEPS = 6; // of each bisection: thresholds to 1/64 of their range
  private static final float MOST_PV = 32;

  private SparsityTuner() {}

  /**
   * How much error is allowed: relative L1, sum |o - exact| / sum |exact|, per head. Quantisation
   * alone takes about 0.01 of it.
   *
   * @param l1 with blocks left out
   * @param pvL1 with P*V skipped besides; at least l1
   */
  public record Budget(float l1, float pvL1) {
    /** Upstream's choice for video models: 0.06 and 0.065. */
    public static final Budget DEFAULT = new Budget(0.06f, 0.065f);

    /**
     * Checks the order.
     *
     * @param l1 of the whole, above 0
     * @param pvL1 with skipped P V, at least l1
     */
    public Budget {
      if (!(l1 > 0 && pvL1 >= l1)) {
        throw new InvalidAttentionArgumentException(
            "the error budget is l1 " + l1 + ", pvL1 " + pvL1 + "; 0 < l1 <= pvL1 is accepted");
      }
    }
  }

  /** Hears how far the search is. */
  @FunctionalInterface
  public interface Progress {
    /**
     * A setting was measured.
     *
     * @param done how many so far
     * @param total how many there will be
     */
    void measured(int done, int total);
  }

  /** What one setting of all heads gave. */
  record Measurement(float[] l1, float[] sparsity) {}

  /** Measures one setting: simthreshd1, cdfthreshd and pvthreshd of each head. */
  interface Experiment {
    Measurement run(float[] simthreshd1, float[] cdfthreshd, float[] pvthreshd);
  }

  /**
   * Tunes on the q, k, v, key lengths, stream and options of a request. Its output isn't written.
   *
   * @param request q, k, v and what else the layer has
   * @param budget the errors that are allowed
   * @return the profile
   * @throws UnsupportedAttentionException if the sparge or the exact backend doesn't serve it
   */
  public static SparsityProfile tune(AttentionRequest request, Budget budget) {
    return tune(request, budget, (done, total) -> {});
  }

  /**
   * The same, and says after each of its calls how far it is.
   *
   * @param request q, k, v and what else the layer has
   * @param budget the errors that are allowed
   * @param progress is told after each call
   * @return the profile
   * @throws UnsupportedAttentionException if the sparge or the exact backend doesn't serve it
   */
  public static SparsityProfile tune(AttentionRequest request, Budget budget, Progress progress) {
    if (request == null || !(request.q() instanceof DeviceTensor q)) {
      throw new InvalidAttentionArgumentException(
          "request is "
              + (request == null ? "null" : "over host memory")
              + "; device tensors are needed");
    }
    if (request.mask() != null) {
      throw new InvalidAttentionArgumentException(
          "request has a mask; SpargeAttn reads none: requests without one are accepted");
    }
    if (request.packed() != null) {
      throw new InvalidAttentionArgumentException(
          "request has packed sequences; SpargeAttn takes none: requests without are accepted");
    }
    int heads = Math.toIntExact(request.dims().headsQ());
    try (DeviceTensor o = DeviceTensor.allocate(q.device(), q.dtype(), q.shape().sizes())) {
      AttentionOptions.Builder options = request.options().toBuilder().mode(BackendMode.REQUIRE);
      Attention.sdpa(
          copy(request, o)
              .options(
                  options.backend(SdpaBackend.EXACT).sparsity(SparsityOptions.DEFAULTS).build())
              .build());
      float[] exact = o.toFloatArray(request.stream());
      AttentionOptions sparse = options.backend(SdpaBackend.SPARGE).build();
      return search(
          heads,
          budget,
          counted(
              progress,
              (similarity, mass, skip) ->
                  measure(
                      copy(request, o).options(sparse),
                      exact,
                      new float[][] {similarity, mass, skip})));
    }
  }

  /** The experiment, with every run of it reported. */
  static Experiment counted(Progress progress, Experiment experiment) {
    int total = (SIMILARITIES.length + 1) * (STEPS + 1);
    int[] done = {0};
    return (similarity, mass, skip) -> {
      Measurement result = experiment.run(similarity, mass, skip);
      progress.measured(++done[0], total);
      return result;
    };
  }

  private static AttentionRequest.Builder copy(AttentionRequest request, DeviceTensor o) {
    return AttentionRequest.builder()
        .q(request.q())
        .k(request.k())
        .v(request.v())
        .o(o)
        .kvLengths(request.kvLengths())
        .stream(request.stream());
  }

  private static Measurement measure(
      AttentionRequest.Builder builder, float[] exact, float[][] thresholds) {
    DeviceTensor o = (DeviceTensor) builder.o;
    int device = o.device();
    int heads = thresholds[0].length;
    long batch = builder.q.size(0);
    try (DeviceTensor similarity = DeviceTensor.of(device, DType.FLOAT32, thresholds[0], heads);
        DeviceTensor mass = DeviceTensor.of(device, DType.FLOAT32, thresholds[1], heads);
        DeviceTensor skip = DeviceTensor.of(device, DType.FLOAT32, thresholds[2], heads);
        DeviceTensor share = DeviceTensor.allocate(device, DType.FLOAT32, batch, heads)) {
      builder.sparsityTensors(
          SparsityTensors.builder()
              .simthreshd1(similarity)
              .cdfthreshd(mass)
              .pvthreshd(skip)
              .sparsity(share)
              .build());
      AttentionRequest request = builder.build();
      Attention.sdpa(request);
      float[] output = o.toFloatArray(request.stream());
      float[] shares = share.toFloatArray(request.stream());
      float[] sparsity = new float[heads];
      for (int i = 0; i < shares.length; i++) {
        sparsity[i % heads] += shares[i] / batch;
      }
      return new Measurement(errors(request, output, exact), sparsity);
    }
  }

  /** Relative L1 per head; both arrays are in the order of the request's layout. */
  private static float[] errors(AttentionRequest request, float[] output, float[] exact) {
    AttentionDims dims = request.dims();
    int heads = (int) dims.headsQ();
    // Elements from one head to the next.
    long stride =
        dims.headDim() * (request.options().layout() == TensorLayout.HND ? dims.queries() : 1);
    double[] error = new double[heads];
    double[] norm = new double[heads];
    for (int i = 0; i < exact.length; i++) {
      int head = (int) (i / stride % heads);
      error[head] += Math.abs(output[i] - exact[i]);
      norm[head] += Math.abs(exact[i]);
    }
    float[] relative = new float[heads];
    for (int h = 0; h < heads; h++) {
      relative[h] = (float) (error[h] == 0 ? 0 : error[h] / norm[h]);
    }
    return relative;
  }

  /** The search, whatever measures. */
  static SparsityProfile search(int heads, Budget budget, Experiment experiment) {
    // Where nothing fits the budget, no block is trusted: all are computed.
    float[] similarity = filled(heads, 1);
    float[] mass = filled(heads, 1);
    float[] best = filled(heads, -1);
    float[] noSkip = filled(heads, MOST_PV);
    for (float candidate : SIMILARITIES) {
      float[] tried = filled(heads, candidate);
      float[] found = bisect(heads, 1, budget.l1(), m -> experiment.run(tried, m, noSkip));
      Measurement result = experiment.run(tried, found, noSkip);
      for (int h = 0; h < heads; h++) {
        if (result.l1()[h] <= budget.l1() && result.sparsity()[h] > best[h]) {
          best[h] = result.sparsity()[h];
          similarity[h] = candidate;
          mass[h] = found[h];
        }
      }
    }
    float[] skip = bisect(heads, MOST_PV, budget.pvL1(), s -> experiment.run(similarity, mass, s));
    Measurement result = experiment.run(similarity, mass, skip);
    Map<String, float[]> columns = new LinkedHashMap<>();
    columns.put("simthreshd1", similarity);
    columns.put("cdfthreshd", mass);
    columns.put("pvthreshd", skip);
    columns.put("l1", result.l1());
    columns.put("sparsity", result.sparsity());
    return new SparsityProfile(columns);
  }

  private interface Trial {
    Measurement run(float[] thresholds);
  }

  /** Per head the smallest threshold in (0, most] within the budget; most if there is none. */
  private static float[] bisect(int heads, float most, float budget, Trial trial) {
    float[] low = filled(heads, 0);
    float[] high = filled(heads, most);
    for (int step = 0; step < STEPS; step++) {
      float[] middle = new float[heads];
      for (int h = 0; h < heads; h++) {
        middle[h] = (low[h] + high[h]) / 2;
      }
      float[] error = trial.run(middle).l1();
      for (int h = 0; h < heads; h++) {
        if (error[h] <= budget) {
          high[h] = middle[h];
        } else {
          low[h] = middle[h];
        }
      }
    }
    return high;
  }

  private static float[] filled(int heads, float value) {
    float[] values = new float[heads];
    Arrays.fill(values, value);
    return values;
  }
}
