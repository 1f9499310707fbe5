package org.attn4j.gpu;

import static org.testng.Assert.assertTrue;

import java.util.Random;
import org.attn4j.Attention;
import org.attn4j.AttentionRequest;
import org.attn4j.CausalMask;
import org.attn4j.CudaStream;
import org.attn4j.testing.ErrorStats;
import org.testng.annotations.Test;

/**
 * Attention maps that N(0,1) tensors never show. {@code attn_gpu hard} has more of them, with bars
 * from a model of the rounding; these are what the kernels must hold on the user's machine, too.
 */
@Test(groups = "gpu")
public class GpuHardDataTest extends GpuTestBase {
  private static final int ROWS = 192;

  private static GpuProblem.Spec spec(GpuKernel kernel, int lq, int lk, int headDim) {
    GpuProblem.Spec spec = new GpuProblem.Spec();
    spec.lq = lq;
    spec.lk = lk;
    spec.headDim = headDim;
    spec.options = kernel.options().causalMask(CausalMask.BOTTOM_RIGHT).build();
    return spec;
  }

  private static void check(GpuProblem problem, Random random, double bar, String what) {
    try (CudaStream stream = CudaStream.create(DEVICE)) {
      AttentionRequest request = problem.request().stream(stream).build();
      problem.poison(stream, Attention.workspaceSize(request));
      Attention.sdpa(request);
      ErrorStats stats = problem.compare(stream, ROWS, random).output();
      System.out.printf("%s: %s%n", what, stats);
      assertTrue(stats.relativeL1() <= bar, what + ": " + stats + ", at most " + bar);
    }
  }

  /**
   * The last 200 keys times 4, their values plus 3; the last 200 queries, which see few to all of
   * them. FP8 rounds a probability and a value by 2.64 % each, and INT8 scores as large as these by
   * 0.05: a row of few keys has an L1 of 0.03, one of many 0.015.
   */
  @Test(dataProvider = "kernels")
  public void fewHeavyKeysAndALongTail(GpuKernel kernel) {
    double bar = !kernel.isQuantised() ? 0.001 : kernel.isInt8Fp16() ? 0.015 : 0.025;
    for (int headDim : new int[] {64, 96, 128}) {
      Random random = new Random(SEED);
      try (GpuProblem problem = new GpuProblem(spec(kernel, 200, 32768, headDim), random)) {
        float[] keys = problem.k.host().toFloatArray();
        float[] values = problem.v.host().toFloatArray();
        for (int i = keys.length - 200 * headDim; i < keys.length; i++) {
          keys[i] *= 4;
          values[i] += 3;
        }
        problem.k.fill(keys);
        problem.v.fill(values);
        check(problem, random, bar, "tail: " + kernel + " d" + headDim);
      }
    }
  }

  /**
   * Four keys, the last of all, that have 60 % of every row. Their probabilities and values are
   * rounded by themselves: 0.022 of each, 0.031 together.
   */
  @Test(dataProvider = "kernels")
  public void attentionSinks(GpuKernel kernel) {
    double bar = !kernel.isQuantised() ? 0.001 : kernel.isInt8Fp16() ? 0.02 : 0.035;
    int headDim = 128;
    int rows = 131072;
    int channels = 8;
    double score = Math.log(0.6 / 0.4 / 4 * rows) + 1 / 32.;
    Random random = new Random(SEED);
    try (GpuProblem problem = new GpuProblem(spec(kernel, 64, rows, headDim), random)) {
      float[] queries = problem.q.host().toFloatArray();
      float[] keys = problem.k.host().toFloatArray();
      for (int i = 0; i < keys.length; i++) {
        boolean sink = i / headDim >= rows - 4;
        boolean shared = i % headDim < channels;
        keys[i] =
            !shared
                ? 0.25f * keys[i]
                : sink ? (float) (score * Math.sqrt(headDim) / (2 * channels)) : 0.02f * keys[i];
      }
      for (int i = 0; i < queries.length; i++) {
        queries[i] = i % headDim < channels ? 2 + 0.2f * queries[i] : queries[i];
      }
      problem.q.fill(queries);
      problem.k.fill(keys);
      check(problem, random, bar, "sinks: " + kernel);
    }
  }

  /** The output of a channel that has one value must be that value, whatever the weights are. */
  @Test(dataProvider = "kernels")
  public void oneValuePerChannel(GpuKernel kernel) {
    for (int headDim : new int[] {64, 96, 128}) {
      Random random = new Random(SEED);
      try (GpuProblem problem = new GpuProblem(spec(kernel, 512, 4096, headDim), random)) {
        float[] values = new float[problem.v.elements()];
        for (int i = 0; i < values.length; i++) {
          values[i] = 1 + i % headDim / 32f;
        }
        problem.v.fill(values);
        check(problem, random, 0.0012, "one value: " + kernel + " d" + headDim);
      }
    }
  }

  /** V = 1 + N(0,1) / 4. What all values have in common must not be lost in the accumulator. */
  @Test(dataProvider = "kernels")
  public void valuesOfOneSign(GpuKernel kernel) {
    for (int headDim : new int[] {64, 96, 128}) {
      Random random = new Random(SEED);
      try (GpuProblem problem = new GpuProblem(spec(kernel, 512, 4096, headDim), random)) {
        float[] values = problem.v.host().toFloatArray();
        for (int i = 0; i < values.length; i++) {
          values[i] = 1 + values[i] / 4;
        }
        problem.v.fill(values);
        check(problem, random, 0.0022, "one sign: " + kernel + " d" + headDim);
      }
    }
  }
}
