package org.attn4j.gpu;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.Random;
import org.attn4j.Attention;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.CausalMask;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.SdpaBackend;
import org.attn4j.testing.Gaussian;
import org.attn4j.testing.NaiveAttention;
import org.testng.SkipException;
import org.testng.annotations.Test;

/**
 * NaN and infinities in Q, K and V. Where the formula in double is finite the output is, and near
 * it; where it isn't, neither is the output. So what a mask hides is not seen.
 */
@Test(groups = "gpu")
public class GpuNonFiniteTest extends GpuTestBase {
  private static final float[] VALUES = {
    Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY
  };
  private static final int CHANNEL = 5;

  private static GpuProblem.Spec spec(AttentionOptions.Builder options, DType dtype) {
    GpuProblem.Spec spec = new GpuProblem.Spec();
    spec.dtype = dtype;
    spec.options = options.build();
    spec.headsQ = 2;
    spec.lq = 300;
    spec.lk = 300;
    spec.lse = true;
    return spec;
  }

  private enum Place {
    QUERIES,
    KEYS,
    VALUES
  }

  /** Puts a value into rows [from, to) of the last head. */
  private static void put(GpuProblem problem, Place place, int from, int to, float value) {
    PaddedTensor tensor =
        place == Place.QUERIES ? problem.q : place == Place.KEYS ? problem.k : problem.v;
    float[] all = Gaussian.values(new Random(SEED + place.ordinal()), tensor.elements());
    int d = problem.spec.headDim;
    int rows = place == Place.QUERIES ? problem.spec.lq : problem.spec.lk;
    int first = tensor.elements() / d - rows;
    for (int row = from; row < to; row++) {
      all[(first + row) * d + CHANNEL] = value;
    }
    tensor.fill(all);
  }

  /** The kernels on mma.sync, which serve small exact problems on Hopper too, don't keep it yet. */
  private static void requireWgmma(GpuKernel kernel, AttentionRequest request) {
    SdpaBackend backend = kernel == GpuKernel.EXACT ? SdpaBackend.EXACT : SdpaBackend.SAGE;
    boolean wgmma =
        Attention.explain(request).stream()
            .anyMatch(v -> v.backend() == backend && v.reason().contains("wgmma"));
    if (!wgmma) {
      throw new SkipException("served by a kernel on mma.sync: " + request);
    }
  }

  private static void check(GpuKernel kernel, GpuProblem problem, CudaStream stream, String what) {
    requireWgmma(kernel, problem.request().stream(stream).build());
    problem.poison(stream, Attention.workspaceSize(problem.request().stream(stream).build()));
    Attention.sdpa(problem.request().stream(stream).build());
    float[] output = problem.output(stream);
    GpuProblem.Spec spec = problem.spec;
    NaiveAttention naive =
        new NaiveAttention(
            problem.q.host(), problem.k.host(), problem.v.host(), spec.options, spec.kvLengths);
    double bound = kernel.isQuantised() ? 0.4 : 0.03; // the largest error of one output
    for (int h = 0; h < spec.headsQ; h++) {
      for (int i = 0; i < spec.lq; i++) {
        double[] expected = naive.row(0, h, i).output();
        for (int c = 0; c < spec.headDim; c++) {
          float found = output[(h * spec.lq + i) * spec.headDim + c];
          String where = kernel + " " + what + ", head " + h + " row " + i + " channel " + c;
          assertEquals(Float.isFinite(found), Double.isFinite(expected[c]), where + ": " + found);
          if (Float.isFinite(found)) {
            assertTrue(Math.abs(found - expected[c]) <= bound, where + ": " + found);
          }
        }
      }
    }
  }

  private static void checkAll(
      GpuKernel kernel, GpuProblem.Spec spec, Place[] places, int from, int to) {
    for (Place place : places) {
      for (float value : VALUES) {
        try (CudaStream stream = CudaStream.create(DEVICE);
            GpuProblem problem = new GpuProblem(spec, new Random(SEED))) {
          put(problem, place, from, to, value);
          check(kernel, problem, stream, value + " in " + place + " of " + spec);
        }
      }
    }
  }

  private static final Place[] KEYS_AND_VALUES = {Place.KEYS, Place.VALUES};

  @Test(dataProvider = "kernels")
  public void behindCausalMasks(GpuKernel kernel) {
    for (DType dtype : DType.values()) {
      if (!dtype.isHalf()) {
        continue;
      }
      for (CausalMask mask : new CausalMask[] {CausalMask.TOP_LEFT, CausalMask.BOTTOM_RIGHT}) {
        GpuProblem.Spec spec = spec(kernel.options().causalMask(mask), dtype);
        spec.lq = mask == CausalMask.TOP_LEFT ? 300 : 130;
        checkAll(kernel, spec, KEYS_AND_VALUES, 299, 300); // the last key
        checkAll(kernel, spec, KEYS_AND_VALUES, 220, 221); // in the middle of a tile
      }
    }
  }

  @Test(dataProvider = "kernels")
  public void behindTheLengths(GpuKernel kernel) {
    for (CausalMask mask : new CausalMask[] {CausalMask.NONE, CausalMask.TOP_LEFT}) {
      GpuProblem.Spec spec = spec(kernel.options().causalMask(mask), DType.FLOAT16);
      spec.kvLengths = new int[] {201};
      checkAll(kernel, spec, KEYS_AND_VALUES, 201, 300);
    }
  }

  @Test(dataProvider = "kernels")
  public void whereEverybodySeesThem(GpuKernel kernel) {
    GpuProblem.Spec spec = spec(kernel.options(), DType.FLOAT16);
    checkAll(kernel, spec, new Place[] {Place.QUERIES, Place.KEYS}, 100, 101);
  }
}
