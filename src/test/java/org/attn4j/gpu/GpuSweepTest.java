package org.attn4j.gpu;

import static org.testng.Assert.assertEquals;

import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.attn4j.Attention;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.CausalMask;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.QuantGranularity;
import org.attn4j.TensorLayout;
import org.attn4j.gpu.GpuKernel.Bars;
import org.attn4j.testing.ErrorStats;
import org.testng.annotations.Test;

/**
 * Random problems over everything that a call accepts, each on its own poisoned output and
 * workspace, compared with the formula in double on sampled rows.
 */
@Test(groups = "gpu")
public class GpuSweepTest extends GpuTestBase {
  private static final int CASES = Integer.getInteger("attn4j.test.cases", 1500);
  private static final int ROWS = 24;

  private static final int[] HEAD_DIMS = {8, 40, 64, 72, 80, 96, 112, 128};
  private static final int[] ODD_HEAD_DIMS = {1, 20, 33, 100, 127};
  private static final int[] LARGE_HEAD_DIMS = {136, 160, 192, 200, 256};
  private static final int[] LENGTHS = {1, 7, 63, 64, 65, 127, 128, 129, 1000, 4097};
  private static final int[] GROUPS = {1, 4, 8};

  @Test
  public void randomProblems() {
    List<GpuKernel> kernels = GpuKernel.available();
    System.out.printf("sweep: seed %d, %d cases, kernels %s%n", SEED, CASES, kernels);
    Random random = new Random(SEED);
    Map<GpuKernel, ErrorStats> totals = new EnumMap<>(GpuKernel.class);
    List<String> failures = new ArrayList<>();
    try (CudaStream stream = CudaStream.create(DEVICE)) {
      for (int i = 0; i < CASES; i++) {
        GpuKernel kernel = kernels.get(i % kernels.size());
        GpuProblem.Spec spec = spec(kernel, random);
        try {
          String failure = run(kernel, spec, stream, random, totals);
          if (failure != null) {
            failures.add("case " + i + " " + kernel + " " + spec + ": " + failure);
          }
        } catch (RuntimeException | AssertionError e) {
          failures.add("case " + i + " " + kernel + " " + spec + ": " + e);
        }
      }
    }
    totals.forEach((kernel, stats) -> System.out.println("sweep: " + kernel + " " + stats));
    failures.forEach(failure -> System.out.println("sweep FAILED: " + failure));
    assertEquals(failures.size(), 0, "failed cases, first: " + failures.stream().findFirst());
  }

  private static GpuProblem.Spec spec(GpuKernel kernel, Random random) {
    GpuProblem.Spec spec = new GpuProblem.Spec();
    spec.dtype = random.nextBoolean() ? DType.FLOAT16 : DType.BFLOAT16;
    int[] dims = random.nextInt(6) == 0 ? ODD_HEAD_DIMS : HEAD_DIMS;
    if (!kernel.isQuantised() && random.nextInt(4) == 0) {
      dims = LARGE_HEAD_DIMS;
    }
    spec.headDim = pick(random, dims);
    spec.lq = pick(random, LENGTHS);
    spec.lk = random.nextInt(3) == 0 ? spec.lq : pick(random, LENGTHS);
    int group = pick(random, GROUPS);
    boolean large = spec.lq > 500 || spec.lk > 500;
    spec.headsKv = large ? 1 : 1 + random.nextInt(3);
    spec.headsQ = spec.headsKv * group;
    spec.batch = large ? 1 : 1 + random.nextInt(2);
    spec.storage = pickStorage(random);
    spec.lse = random.nextBoolean();
    if (random.nextInt(4) == 0) {
      spec.kvLengths = random.ints(spec.batch, 0, spec.lk + 1).toArray();
    }
    spec.options = options(kernel, spec.headDim, random);
    return spec;
  }

  private static AttentionOptions options(GpuKernel kernel, int headDim, Random random) {
    AttentionOptions.Builder options =
        kernel
            .options()
            .layout(random.nextBoolean() ? TensorLayout.HND : TensorLayout.NHD)
            .causalMask(CausalMask.values()[random.nextInt(3)]);
    if (random.nextInt(4) == 0) {
      float factor = random.nextBoolean() ? -1f : 0.5f;
      options.smScale((float) (factor / Math.sqrt(headDim)));
    }
    if (kernel.isInt8Fp16()) {
      options.quantGranularity(QuantGranularity.values()[random.nextInt(3)]);
      options.smoothK(random.nextInt(4) != 0);
    }
    return options.build();
  }

  private static int pick(Random random, int[] values) {
    return values[random.nextInt(values.length)];
  }

  private static GpuProblem.Storage pickStorage(Random random) {
    int dice = random.nextInt(10);
    return dice < 5
        ? GpuProblem.Storage.CONTIGUOUS
        : dice < 8 ? GpuProblem.Storage.PADDED : GpuProblem.Storage.MISALIGNED;
  }

  /** Null, or what went beyond which bar. */
  private static String run(
      GpuKernel kernel,
      GpuProblem.Spec spec,
      CudaStream stream,
      Random random,
      Map<GpuKernel, ErrorStats> totals) {
    try (GpuProblem problem = new GpuProblem(spec, random)) {
      AttentionRequest request = problem.request().stream(stream).build();
      problem.poison(stream, Attention.workspaceSize(request));
      Attention.sdpa(request);
      GpuProblem.Comparison found = problem.compare(stream, ROWS, random);
      totals.computeIfAbsent(kernel, any -> new ErrorStats()).add(found.output());
      return judge(spec, kernel.bars(request), found);
    }
  }

  /**
   * The bars hold for the mean over many rows of N(0,1) in fp16. A sample of n rows scatters by
   * about 1/sqrt(n) of it (a row's error depends on its own largest element); rows of fewer than 8
   * channels count for as much less, since their few errors don't average. bf16 adds half a unit of
   * the output, 2^-9 / 2 of it on average, and where P is bf16 the same once more. Scales shared by
   * more rows are larger by the ratio of the expected maxima, below 1.45 for blocks.
   */
  private static String judge(GpuProblem.Spec spec, Bars bars, GpuProblem.Comparison found) {
    double rows = found.rows() * Math.min(8, spec.headDim) / 8.0;
    double scatter = 1 + 3 / Math.sqrt(rows);
    boolean coarse =
        spec.options.quantGranularity() != QuantGranularity.PER_THREAD || !spec.options.smoothK();
    double l1Bar = bars.l1() * scatter * (coarse ? 1.45 : 1);
    double cosineBar = 1 - (1 - bars.cosine()) * scatter * scatter * (coarse ? 2.1 : 1);
    if (spec.dtype == DType.BFLOAT16) {
      l1Bar += 0.004;
      cosineBar -= 2e-5;
    }
    if (!(found.output().relativeL1() <= l1Bar)) {
      return "L1 above " + l1Bar + ": " + found.output();
    }
    if (!(found.output().cosine() >= cosineBar)) {
      return "cosine below " + cosineBar + ": " + found.output();
    }
    double lseBar = bars.lse() * (coarse ? 2.5 : 1.7);
    return found.lseError() <= lseBar ? null : "LSE off by " + found.lseError() + ", bar " + lseBar;
  }
}
