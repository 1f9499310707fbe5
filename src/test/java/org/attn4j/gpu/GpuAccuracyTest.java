package org.attn4j.gpu;

import static org.testng.Assert.assertTrue;

import java.util.Random;
import org.attn4j.Attention;
import org.attn4j.AttentionRequest;
import org.attn4j.CausalMask;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.gpu.GpuKernel.Bars;
import org.attn4j.testing.ErrorStats;
import org.testng.annotations.Test;

/**
 * The project's accuracy bars at 4096 keys: N(0,1), and K with channel offsets ten times its
 * spread.
 */
@Test(groups = "gpu")
public class GpuAccuracyTest extends GpuTestBase {
  private static final int ROWS = 192;

  @Test(dataProvider = "kernels")
  public void barsHold(GpuKernel kernel) {
    try (CudaStream stream = CudaStream.create(DEVICE)) {
      for (int headDim : new int[] {64, 96, 128}) {
        for (CausalMask mask : new CausalMask[] {CausalMask.NONE, CausalMask.TOP_LEFT}) {
          for (float offset : new float[] {0, 10}) {
            check(kernel, spec(kernel, headDim, mask, offset), stream);
          }
        }
      }
    }
  }

  private static GpuProblem.Spec spec(
      GpuKernel kernel, int headDim, CausalMask mask, float offset) {
    GpuProblem.Spec spec = new GpuProblem.Spec();
    spec.headsQ = 4;
    spec.headsKv = 4;
    spec.lq = 4096;
    spec.lk = 4096;
    spec.headDim = headDim;
    spec.kOffset = offset;
    spec.options = kernel.options().causalMask(mask).build();
    return spec;
  }

  private static void check(GpuKernel kernel, GpuProblem.Spec spec, CudaStream stream) {
    Random random = new Random(SEED);
    try (GpuProblem problem = new GpuProblem(spec, random)) {
      AttentionRequest request = problem.request().stream(stream).build();
      Bars bars = kernel.bars(request);
      ErrorStats stats = measure(problem, request, stream, random);
      System.out.printf(
          "accuracy: %s d%d %s K offset %.0f: %s%n",
          kernel, spec.headDim, spec.options.causalMask(), spec.kOffset, stats);
      assertTrue(stats.relativeL1() <= bars.l1(), "L1 of " + stats + " in " + spec);
      assertTrue(stats.cosine() >= bars.cosine(), "cosine of " + stats + " in " + spec);
    }
  }

  private static ErrorStats measure(
      GpuProblem problem, AttentionRequest request, CudaStream stream, Random random) {
    problem.poison(stream, Attention.workspaceSize(request));
    Attention.sdpa(request);
    return problem.compare(stream, ROWS, random).output();
  }

  /**
   * Blocks of 64 rows of 16 kinds: most keys weigh nothing for a query, and some kernels leave them
   * out.
   */
  @Test(dataProvider = "kernels")
  public void keysOfOtherKindsWeighNothing(GpuKernel kernel) {
    double bar = !kernel.isQuantised() ? 0.0005 : kernel.isInt8Fp16() ? 0.022 : 0.042;
    Random random = new Random(SEED);
    try (CudaStream stream = CudaStream.create(DEVICE)) {
      for (int headDim : new int[] {64, 96, 128}) {
        for (CausalMask mask : new CausalMask[] {CausalMask.NONE, CausalMask.TOP_LEFT}) {
          GpuProblem.Spec spec = spec(kernel, headDim, mask, 0);
          try (GpuProblem problem = new GpuProblem(spec, random)) {
            fillWithKinds(problem, random);
            AttentionRequest request = problem.request().stream(stream).build();
            ErrorStats stats = measure(problem, request, stream, random);
            System.out.printf("kinds: %s d%d %s: %s%n", kernel, headDim, mask, stats);
            assertTrue(stats.relativeL1() <= bar, stats + " in " + spec);
          }
        }
      }
    }
  }

  private static void fillWithKinds(GpuProblem problem, Random random) {
    int headDim = problem.spec.headDim;
    int rows = problem.spec.lk;
    float[][] centres = new float[16][headDim];
    for (float[] centre : centres) {
      for (int c = 0; c < headDim; c++) {
        centre[c] = random.nextBoolean() ? 1.5f : -1.5f;
      }
    }
    int[] kinds = random.ints(rows / 64, 0, 16).toArray();
    for (PaddedTensor x : new PaddedTensor[] {problem.q, problem.k}) {
      float[] values = new float[x.elements()];
      for (int i = 0; i < values.length; i++) {
        int kind = kinds[i / headDim % rows / 64];
        values[i] = centres[kind][i % headDim] + (float) random.nextGaussian();
      }
      x.fill(values);
    }
  }

  @Test
  public void smoothingIsWhatHoldsTheErrorOfOffsetKeys() {
    Random random = new Random(SEED);
    GpuProblem.Spec spec = spec(GpuKernel.INT8_FP16, 64, CausalMask.NONE, 10);
    try (CudaStream stream = CudaStream.create(DEVICE);
        GpuProblem problem = new GpuProblem(spec, random)) {
      AttentionRequest smooth = problem.request().stream(stream).build();
      AttentionRequest rough =
          problem.request().stream(stream)
              .options(spec.options.toBuilder().smoothK(false).build())
              .build();
      ErrorStats with = measure(problem, smooth, stream, random);
      ErrorStats without = measure(problem, rough, stream, random);
      System.out.println("accuracy: offset K smoothed " + with + "; not smoothed " + without);
      assertTrue(without.relativeL1() > 3 * with.relativeL1());
    }
  }

  @Test
  public void bf16ValuesBeyondFp16StayFinite() {
    Random random = new Random(SEED);
    GpuProblem.Spec spec = new GpuProblem.Spec();
    spec.dtype = DType.BFLOAT16;
    spec.options = GpuKernel.INT8_FP16.options().build();
    try (CudaStream stream = CudaStream.create(DEVICE);
        GpuProblem problem = new GpuProblem(spec, random)) {
      float[] values = new float[problem.v.elements()];
      for (int i = 0; i < values.length; i++) {
        values[i] = (float) (1e6 * random.nextGaussian());
      }
      problem.v.fill(values);
      AttentionRequest request = problem.request().stream(stream).build();
      ErrorStats stats = measure(problem, request, stream, random);
      assertTrue(stats.relativeL1() <= 0.02, stats.toString());
    }
  }
}
