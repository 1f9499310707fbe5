package org.attn4j.gpu;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.Random;
import org.attn4j.Attention;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.BackendVerdict.Outcome;
import org.attn4j.CausalMask;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Few queries on many keys: decoding, pooling heads, one text token (docs/decode.md). */
@Test(groups = "gpu")
public class GpuFewQueriesTest extends GpuTestBase {
  private static final int[] QUERIES = {1, 2, 5, 16, 77, 128};

  /** Auto mode and the exact backend: both take the kernel that divides the keys. */
  @DataProvider
  public Object[][] exactKernels() {
    return new Object[][] {{GpuKernel.SAGE}, {GpuKernel.EXACT}};
  }

  private static GpuProblem.Spec spec(AttentionOptions options, int lq, int lk, int headDim) {
    GpuProblem.Spec spec = new GpuProblem.Spec();
    spec.options = options;
    spec.batch = 2;
    spec.headsQ = 8;
    spec.headsKv = 2;
    spec.lq = lq;
    spec.lk = lk;
    spec.headDim = headDim;
    spec.lse = true;
    return spec;
  }

  private static GpuProblem.Comparison run(GpuProblem problem, CudaStream stream) {
    AttentionRequest request = problem.request().stream(stream).build();
    problem.poison(stream, Attention.workspaceSize(request));
    Attention.sdpa(request);
    return problem.compare(stream, 40, new Random(SEED));
  }

  private static String kernelOf(GpuProblem problem, CudaStream stream) {
    return Attention.explain(problem.request().stream(stream).build()).stream()
        .filter(verdict -> verdict.outcome() == Outcome.SERVES)
        .findFirst()
        .orElseThrow()
        .reason();
  }

  @Test(dataProvider = "exactKernels")
  public void fewQueriesAreServedByDividedKeys(GpuKernel kernel) {
    Random random = new Random(SEED);
    try (CudaStream stream = CudaStream.create(DEVICE)) {
      for (int lq : QUERIES) {
        for (int lk : new int[] {4097, 9000}) {
          GpuProblem.Spec spec = spec(kernel.options().build(), lq, lk, 128);
          spec.dtype = lq % 2 == 0 ? DType.BFLOAT16 : DType.FLOAT16;
          spec.storage = lq == 5 ? GpuProblem.Storage.MISALIGNED : GpuProblem.Storage.PADDED;
          try (GpuProblem problem = new GpuProblem(spec, random)) {
            String explained = kernelOf(problem, stream);
            assertTrue(explained.contains("exact_split"), spec + ": " + explained);
            check(problem, stream);
          }
        }
      }
    }
  }

  @Test
  public void masksAndLengths() {
    Random random = new Random(SEED + 1);
    try (CudaStream stream = CudaStream.create(DEVICE)) {
      for (CausalMask mask : CausalMask.values()) {
        for (int lq : QUERIES) {
          AttentionOptions options = GpuKernel.EXACT.options().causalMask(mask).build();
          GpuProblem.Spec spec = spec(options, lq, 3000, lq == 16 ? 160 : 64);
          spec.kvLengths = new int[] {3000, lq};
          try (GpuProblem problem = new GpuProblem(spec, random)) {
            check(problem, stream);
          }
        }
      }
    }
  }

  @Test(dataProvider = "exactKernels")
  public void manyRepeatsAreBitwiseEqual(GpuKernel kernel) {
    try (CudaStream stream = CudaStream.create(DEVICE);
        GpuProblem problem =
            new GpuProblem(spec(kernel.options().build(), 3, 20000, 128), new Random(SEED))) {
      AttentionRequest request = problem.request().stream(stream).build();
      float[] first = null;
      for (int i = 0; i < 200; i++) {
        problem.poison(stream, Attention.workspaceSize(request));
        Attention.sdpa(request);
        float[] output = problem.output(stream);
        if (first == null) {
          first = output;
        } else {
          GpuProblem.assertBitwiseEqual(output, first, "repeat " + i);
        }
      }
    }
  }

  /** Rounding of P and O to 16 bits: 2^-9 each for bf16, 2^-12 for fp16; the LSE is fp32. */
  private static void check(GpuProblem problem, CudaStream stream) {
    GpuProblem.Comparison result = run(problem, stream);
    double bar = problem.spec.dtype == DType.BFLOAT16 ? 0.006 : 0.0008;
    assertTrue(result.output().relativeL1() <= bar, problem.spec + ": " + result.output());
    assertTrue(result.lseError() <= 2e-4, problem.spec + ": lse off by " + result.lseError());
    GpuProblem.Spec spec = problem.spec;
    assertEquals(result.rows(), Math.min(40, spec.batch * spec.headsQ * spec.lq));
  }
}
