package org.attn4j.gpu;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertSame;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.nio.ByteBuffer;
import java.util.Random;
import org.attn4j.Attention;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.BackendVerdict.Outcome;
import org.attn4j.ClosedTensorException;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceTensor;
import org.attn4j.HostTensor;
import org.attn4j.InvalidAttentionArgumentException;
import org.attn4j.PvAccumulator;
import org.attn4j.SdpaBackend;
import org.attn4j.TensorShape;
import org.attn4j.UnsupportedAttentionException;
import org.attn4j.testing.ErrorStats;
import org.attn4j.testing.Gaussian;
import org.bytedeco.javacpp.Pointer;
import org.testng.annotations.Test;

/** Nothing to attend to, extreme scales, NaN, repeats, merging by LSE, and refusals. */
@Test(groups = "gpu")
public class GpuEdgeTest extends GpuTestBase {
  private static GpuProblem.Spec spec(AttentionOptions options) {
    GpuProblem.Spec spec = new GpuProblem.Spec();
    spec.batch = 2;
    spec.headsQ = 4;
    spec.headsKv = 2;
    spec.lq = 130;
    spec.lk = 300;
    spec.options = options;
    return spec;
  }

  private static GpuProblem.Comparison run(GpuProblem problem, CudaStream stream, int rows) {
    AttentionRequest request = problem.request().stream(stream).build();
    problem.poison(stream, Attention.workspaceSize(request));
    Attention.sdpa(request);
    return problem.compare(stream, rows, new Random(SEED));
  }

  @Test(dataProvider = "kernels")
  public void noKeysGiveZerosAndMinusInfinity(GpuKernel kernel) {
    GpuProblem.Spec spec = spec(kernel.options().build());
    spec.lse = true;
    spec.lk = 0;
    try (CudaStream stream = CudaStream.create(DEVICE);
        GpuProblem problem = new GpuProblem(spec, new Random(SEED))) {
      assertEquals(run(problem, stream, 8).output().largest(), 0.0);
    }
    spec.lk = 300;
    spec.kvLengths = new int[] {0, 7};
    try (CudaStream stream = CudaStream.create(DEVICE);
        GpuProblem problem = new GpuProblem(spec, new Random(SEED))) {
      run(problem, stream, 64);
      float[] output = problem.output(stream);
      for (int i = 0; i < output.length / 2; i++) {
        assertEquals(output[i], 0f);
      }
    }
  }

  @Test(dataProvider = "kernels")
  public void lengthsOutsideTheRangeAreClamped(GpuKernel kernel) {
    GpuProblem.Spec spec = spec(kernel.options().build());
    spec.lse = true;
    spec.kvLengths = new int[] {-3, 1 << 30};
    try (CudaStream stream = CudaStream.create(DEVICE);
        GpuProblem problem = new GpuProblem(spec, new Random(SEED))) {
      GpuProblem.Comparison found = run(problem, stream, 64);
      assertTrue(found.output().relativeL1() < 0.06, found.toString());
    }
  }

  @Test(dataProvider = "kernels")
  public void emptyProblemsDoNothing(GpuKernel kernel) {
    GpuProblem.Spec spec = spec(kernel.options().build());
    spec.lq = 0;
    try (CudaStream stream = CudaStream.create(DEVICE);
        GpuProblem problem = new GpuProblem(spec, new Random(SEED))) {
      Attention.sdpa(problem.request().stream(stream).build());
      stream.synchronize();
    }
  }

  @Test(dataProvider = "kernels")
  public void extremeScales(GpuKernel kernel) {
    for (float scale : new float[] {0f, 1e-4f, -1e-4f, 50f, -50f, 1e4f}) {
      GpuProblem.Spec spec = spec(kernel.options().smScale(scale).build());
      spec.lse = true;
      try (CudaStream stream = CudaStream.create(DEVICE);
          GpuProblem problem = new GpuProblem(spec, new Random(SEED))) {
        // compare() also asserts that everything is finite; large scales make the softmax a choice
        // of one key, which quantisation may decide otherwise.
        GpuProblem.Comparison found = run(problem, stream, 64);
        if (Math.abs(scale) < 1) {
          double bar = kernel.bars(problem.request().stream(stream).build()).l1() * 1.5;
          assertTrue(found.output().relativeL1() <= bar, scale + ": " + found);
        } else if (kernel == GpuKernel.EXACT && Math.abs(scale) < 100) {
          assertTrue(found.output().relativeL1() <= 0.002, scale + ": " + found);
        }
      }
    }
  }

  @Test(dataProvider = "kernels")
  public void nanOfOneQueryStaysInItsRow(GpuKernel kernel) {
    GpuProblem.Spec spec = spec(kernel.options().build());
    spec.batch = 1;
    spec.headsQ = 2;
    try (CudaStream stream = CudaStream.create(DEVICE);
        GpuProblem problem = new GpuProblem(spec, new Random(SEED))) {
      float[] queries = Gaussian.values(new Random(SEED), problem.q.elements());
      int bad = spec.lq + 77; // head 1, query 77
      queries[bad * spec.headDim + 5] = Float.NaN;
      problem.q.fill(queries);
      Attention.sdpa(problem.request().stream(stream).build());
      float[] output = problem.output(stream);
      for (int i = 0; i < output.length; i++) {
        boolean expected = i / spec.headDim == bad;
        if (Float.isNaN(output[i]) != expected) {
          throw new AssertionError("element " + i + " is " + output[i]);
        }
      }
    }
  }

  @Test(dataProvider = "kernels")
  public void manyRepeatsAreBitwiseEqual(GpuKernel kernel) {
    GpuProblem.Spec spec = spec(kernel.options().build());
    spec.lq = 1000;
    spec.lk = 1100;
    try (CudaStream stream = CudaStream.create(DEVICE);
        GpuProblem problem = new GpuProblem(spec, new Random(SEED))) {
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

  @Test
  public void lseOfTheExactKernelIsExactForLargeScores() {
    for (DType dtype : new DType[] {DType.FLOAT16, DType.BFLOAT16}) {
      for (int headDim : new int[] {64, 96, 128, 160, 192, 256}) {
        float scale = (float) (15 / Math.sqrt(headDim)); // scores up to 60
        GpuProblem.Spec spec = spec(GpuKernel.EXACT.options().smScale(scale).build());
        spec.dtype = dtype;
        spec.headDim = headDim;
        spec.lse = true;
        try (CudaStream stream = CudaStream.create(DEVICE);
            GpuProblem problem = new GpuProblem(spec, new Random(SEED))) {
          GpuProblem.Comparison found = run(problem, stream, 200);
          assertTrue(found.lseError() <= 2e-4, spec + ": " + found);
        }
      }
    }
  }

  /** AnimateDiff's temporal attention: a row of the batch for each pixel. */
  @Test(dataProvider = "kernels")
  public void moreHeadsThanAGridIsHigh(GpuKernel kernel) {
    GpuProblem.Spec spec = spec(kernel.options().build());
    spec.batch = 9216;
    spec.headsQ = 8;
    spec.headsKv = 8;
    spec.lq = 3;
    spec.lk = 5;
    spec.headDim = 8;
    try (CudaStream stream = CudaStream.create(DEVICE);
        GpuProblem problem = new GpuProblem(spec, new Random(SEED))) {
      GpuProblem.Comparison found = run(problem, stream, 500);
      assertTrue(found.output().relativeL1() < 0.06, found.toString());
    }
  }

  @Test(dataProvider = "kernels")
  public void lseMergesTwoHalvesOfTheKeys(GpuKernel kernel) {
    GpuProblem.Spec spec = spec(kernel.options().build());
    spec.lse = true;
    int cut = 111;
    try (CudaStream stream = CudaStream.create(DEVICE);
        GpuProblem problem = new GpuProblem(spec, new Random(SEED));
        Half first = new Half(problem, stream, 0, cut);
        Half second = new Half(problem, stream, cut, spec.lk)) {
      Attention.sdpa(problem.request().stream(stream).build());
      float[] whole = problem.output(stream);
      float[] lse = problem.lse.toFloatArray(stream);
      ErrorStats stats = new ErrorStats();
      for (int row = 0; row < lse.length; row++) {
        double weight = 1 / (1 + Math.exp(second.lse[row] - first.lse[row]));
        for (int c = 0; c < spec.headDim; c++) {
          int i = row * spec.headDim + c;
          stats.add(weight * first.output[i] + (1 - weight) * second.output[i], whole[i]);
        }
      }
      // Both sides carry the kernel's own error.
      double bar = 2 * kernel.bars(problem.request().stream(stream).build()).l1();
      System.out.println("merge: " + kernel + " " + stats);
      assertTrue(stats.relativeL1() <= bar, stats.toString());
    }
  }

  /** Output and LSE over some of a problem's keys. */
  private static final class Half implements AutoCloseable {
    final float[] output;
    final float[] lse;

    Half(GpuProblem problem, CudaStream stream, int from, int to) {
      try (DeviceTensor o =
              DeviceTensor.allocate(DEVICE, DType.FLOAT16, problem.q.device().shape().sizes());
          DeviceTensor sums =
              DeviceTensor.allocate(DEVICE, DType.FLOAT32, problem.lse.shape().sizes())) {
        Attention.sdpa(
            problem
                .request()
                .k(problem.k.device().slice(2, from, to))
                .v(problem.v.device().slice(2, from, to))
                .o(o)
                .lse(sums)
                .stream(stream)
                .build());
        output = o.toFloatArray(stream);
        lse = sums.toFloatArray(stream);
      }
    }

    @Override
    public void close() {}
  }

  @Test
  public void headDimsAboveTheQuantisedKernelsGoOnToTheExactOne() {
    GpuProblem.Spec spec = spec(AttentionOptions.DEFAULTS);
    spec.headDim = 160;
    try (CudaStream stream = CudaStream.create(DEVICE);
        GpuProblem problem = new GpuProblem(spec, new Random(SEED))) {
      AttentionRequest request = problem.request().stream(stream).build();
      assertSame(Attention.explain(request).get(1).outcome(), Outcome.REFUSES);
      assertSame(Attention.explain(request).get(2).outcome(), Outcome.SERVES);
      GpuProblem.Comparison found = run(problem, stream, 64);
      assertTrue(found.output().relativeL1() <= 0.0005, found.toString());
      AttentionRequest required =
          problem.request().options(GpuKernel.SAGE.options().build()).build();
      UnsupportedAttentionException refusal =
          expectThrows(UnsupportedAttentionException.class, () -> Attention.sdpa(required));
      assertTrue(refusal.getMessage().contains("head_dim"), refusal.getMessage());
      assertSame(refusal.verdicts().get(0).backend(), SdpaBackend.SAGE);
    }
  }

  @Test
  public void headDimsAboveTheExactKernelAreRefused() {
    GpuProblem.Spec spec = spec(AttentionOptions.DEFAULTS);
    spec.headDim = 264;
    try (GpuProblem problem = new GpuProblem(spec, new Random(SEED))) {
      UnsupportedAttentionException refusal =
          expectThrows(
              UnsupportedAttentionException.class, () -> Attention.sdpa(problem.request().build()));
      assertEquals(refusal.verdicts().size(), 4, refusal.getMessage());
    }
  }

  @Test
  public void accumulatorThatTheKernelLacksIsRefused() {
    AttentionOptions options =
        GpuKernel.INT8_FP16.options().pvAccumulator(PvAccumulator.FP32_FP16).build();
    try (GpuProblem problem = new GpuProblem(spec(options), new Random(SEED))) {
      UnsupportedAttentionException refusal =
          expectThrows(
              UnsupportedAttentionException.class, () -> Attention.sdpa(problem.request().build()));
      assertTrue(refusal.getMessage().contains("pv_accum_dtype"), refusal.getMessage());
    }
  }

  @Test
  public void hostAddressIsRefusedBeforeAnythingRuns() {
    ByteBuffer buffer = ByteBuffer.allocateDirect(1 << 16);
    TensorShape shape = TensorShape.contiguous(1, 1, 64, 64);
    long address = new Pointer(buffer).address();
    DeviceTensor host = DeviceTensor.wrap(DEVICE, (address + 15) / 16 * 16, DType.FLOAT16, shape);
    try (DeviceTensor o = DeviceTensor.allocate(DEVICE, DType.FLOAT16, 1, 1, 64, 64);
        DeviceTensor k = DeviceTensor.allocate(DEVICE, DType.FLOAT16, 1, 1, 64, 64)) {
      AttentionRequest request = AttentionRequest.builder().q(host).k(k).v(k).o(o).build();
      String message =
          expectThrows(InvalidAttentionArgumentException.class, () -> Attention.sdpa(request))
              .getMessage();
      assertTrue(message.startsWith("q: ") && message.contains("host memory"), message);
    }
  }

  @Test
  public void closedTensorIsRefused() {
    DeviceTensor q = DeviceTensor.allocate(DEVICE, DType.FLOAT16, 1, 1, 64, 64);
    try (DeviceTensor o = DeviceTensor.allocate(DEVICE, DType.FLOAT16, 1, 1, 64, 64)) {
      AttentionRequest request = AttentionRequest.builder().q(q).k(q).v(q).o(o).build();
      Attention.sdpa(request);
      q.close();
      assertEquals(
          expectThrows(ClosedTensorException.class, () -> Attention.sdpa(request)).getMessage(),
          "q is closed; it must be open during the call");
    }
  }

  @Test
  public void copiesComeBack() {
    HostTensor host = Gaussian.tensor(new Random(1), DType.BFLOAT16, 3, 5, 7);
    try (CudaStream stream = CudaStream.create(DEVICE);
        DeviceTensor device = DeviceTensor.copyOf(host, DEVICE)) {
      assertEquals(device.toFloatArray(stream), host.toFloatArray());
      assertEquals(
          device.permute(2, 0, 1).slice(0, 2, 6).toFloatArray(stream),
          host.permute(2, 0, 1).slice(0, 2, 6).toFloatArray());
    }
  }
}
