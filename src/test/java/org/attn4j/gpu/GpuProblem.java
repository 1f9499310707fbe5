package org.attn4j.gpu;

import static org.testng.Assert.assertEquals;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceMemory;
import org.attn4j.DeviceTensor;
import org.attn4j.HostTensor;
import org.attn4j.TensorLayout;
import org.attn4j.testing.ErrorStats;
import org.attn4j.testing.Gaussian;
import org.attn4j.testing.NaiveAttention;

/**
 * One attention problem on the GPU: random inputs on host and device, poisoned outputs with gaps
 * that must stay untouched, and the comparison of sampled rows with the formula in double.
 */
final class GpuProblem implements AutoCloseable {
  /** How the tensors lie in memory. */
  enum Storage {
    /** No gaps. */
    CONTIGUOUS,
    /** Gaps, everything a multiple of 16 bytes. */
    PADDED,
    /** Gaps and offsets of odd element counts. */
    MISALIGNED
  }

  /** Sizes and types of a problem; the rest has defaults. */
  static final class Spec {
    DType dtype = DType.FLOAT16;
    AttentionOptions options = AttentionOptions.DEFAULTS;
    int batch = 1;
    int headsQ = 1;
    int headsKv = 1;
    int lq = 128;
    int lk = 128;
    int headDim = 64;
    Storage storage = Storage.CONTIGUOUS;
    boolean lse;
    int[] kvLengths;
    float kOffset; // channel offsets of K, times N(0,1)

    @Override
    public String toString() {
      return String.format(
          "%s b%d hq%d hkv%d lq%d lk%d d%d %s%s%s %s",
          dtype,
          batch,
          headsQ,
          headsKv,
          lq,
          lk,
          headDim,
          storage,
          lse ? " lse" : "",
          kvLengths == null ? "" : " lengths " + Arrays.toString(kvLengths),
          options);
    }
  }

  final Spec spec;
  final PaddedTensor q;
  final PaddedTensor k;
  final PaddedTensor v;
  final PaddedTensor o;
  final DeviceTensor lse;
  final DeviceTensor kvLengths;
  private final List<AutoCloseable> resources = new ArrayList<>();

  GpuProblem(Spec spec, Random random) {
    this.spec = spec;
    q = tensor(spec.headsQ, spec.lq, random);
    k = tensor(spec.headsKv, spec.lk, random);
    v = tensor(spec.headsKv, spec.lk, random);
    o = tensor(spec.headsQ, spec.lq, random);
    fill(random);
    lse =
        spec.lse
            ? keep(
                DeviceTensor.allocate(
                    GpuTestBase.DEVICE, DType.FLOAT32, spec.batch, spec.headsQ, spec.lq))
            : null;
    kvLengths =
        spec.kvLengths == null
            ? null
            : keep(DeviceTensor.copyOf(HostTensor.ofInts(spec.kvLengths), GpuTestBase.DEVICE));
  }

  private PaddedTensor tensor(int heads, int rows, Random random) {
    boolean hnd = spec.options.layout() == TensorLayout.HND;
    long[] sizes = {spec.batch, hnd ? heads : rows, hnd ? rows : heads, spec.headDim};
    return keep(new PaddedTensor(spec.dtype, spec.storage, random, sizes));
  }

  private <T extends AutoCloseable> T keep(T resource) {
    resources.add(resource);
    return resource;
  }

  /** New random inputs, on host and device. */
  void fill(Random random) {
    q.fill(Gaussian.values(random, q.elements()));
    float[] keys = Gaussian.values(random, k.elements());
    if (spec.kOffset != 0) {
      float[] bias = Gaussian.values(random, spec.headDim);
      for (int i = 0; i < keys.length; i++) {
        keys[i] += spec.kOffset * bias[i % spec.headDim];
      }
    }
    k.fill(keys);
    v.fill(Gaussian.values(random, v.elements()));
  }

  /** A request for this problem; the builder may be changed further. */
  AttentionRequest.Builder request() {
    return AttentionRequest.builder()
        .q(q.device())
        .k(k.device())
        .v(v.device())
        .o(o.device())
        .lse(lse)
        .kvLengths(kvLengths)
        .options(spec.options);
  }

  /** Fills output, LSE and the stream's workspace with 0xFF: NaN in every type. */
  void poison(CudaStream stream, long workspaceBytes) {
    o.poison(stream);
    if (lse != null) {
      lse.memory().fill(0xff, stream);
    }
    if (workspaceBytes > 0) {
      DeviceMemory workspace = stream.workspace(workspaceBytes);
      workspace.fill(0xff, stream);
    }
  }

  /** The output in row-major order of its layout, once the stream is done. */
  float[] output(CudaStream stream) {
    return o.download(stream).toFloatArray();
  }

  /**
   * Fails at the first element that differs in its bits. TestNG's own comparison takes seconds for
   * a million elements.
   */
  static void assertBitwiseEqual(float[] actual, float[] expected, String what) {
    int at = Arrays.mismatch(actual, expected);
    if (at >= 0) {
      throw new AssertionError(
          what + ": element " + at + " is " + actual[at] + ", expected " + expected[at]);
    }
  }

  /** Error statistics of sampled rows, and the largest error of their LSE. */
  record Comparison(ErrorStats output, double lseError, int rows) {}

  /**
   * Compares {@code rows} sampled rows, and checks that everything was written and nothing else.
   */
  Comparison compare(CudaStream stream, int rows, Random random) {
    HostTensor actual = o.download(stream);
    float[] all = actual.toFloatArray();
    for (int i = 0; i < all.length; i++) {
      if (!Float.isFinite(all[i])) {
        throw new AssertionError("element " + i + " is " + all[i] + " in " + spec);
      }
    }
    o.assertGapsUntouched();
    float[] lseValues = lse == null ? null : lse.toFloatArray(stream);
    if (lseValues != null) {
      for (float value : lseValues) {
        if (!(value < Float.POSITIVE_INFINITY)) {
          throw new AssertionError("lse is " + value + " in " + spec);
        }
      }
    }
    NaiveAttention naive =
        new NaiveAttention(q.host(), k.host(), v.host(), spec.options, spec.kvLengths);
    int total = spec.batch * spec.headsQ * spec.lq;
    int[] sample =
        rows >= total ? IntStream.range(0, total).toArray() : sample(random, rows, total);
    ErrorStats[] stats = new ErrorStats[sample.length];
    double[] lseErrors = new double[sample.length];
    IntStream.range(0, sample.length)
        .parallel()
        .forEach(
            n -> {
              stats[n] = new ErrorStats();
              lseErrors[n] = compareRow(naive, sample[n], actual, lseValues, stats[n]);
            });
    ErrorStats sum = new ErrorStats();
    for (ErrorStats one : stats) {
      sum.add(one);
    }
    return new Comparison(sum, Arrays.stream(lseErrors).max().orElse(0), sample.length);
  }

  /** First and last rows, where masks bite, and random ones. */
  private static int[] sample(Random random, int rows, int total) {
    int[] sample = random.ints(rows, 0, total).toArray();
    sample[0] = 0;
    sample[rows - 1] = total - 1;
    return sample;
  }

  private double compareRow(
      NaiveAttention naive, int index, HostTensor actual, float[] lseValues, ErrorStats stats) {
    int i = index % spec.lq;
    int h = index / spec.lq % spec.headsQ;
    int b = index / spec.lq / spec.headsQ;
    NaiveAttention.Row row = naive.row(b, h, i);
    boolean hnd = spec.options.layout() == TensorLayout.HND;
    for (int c = 0; c < spec.headDim; c++) {
      stats.add(hnd ? actual.get(b, h, i, c) : actual.get(b, i, h, c), row.output()[c]);
    }
    if (lseValues == null) {
      return 0;
    }
    float found = lseValues[index];
    if (row.lse() == Double.NEGATIVE_INFINITY) {
      assertEquals(found, Float.NEGATIVE_INFINITY, "lse of a row without keys in " + spec);
      return 0;
    }
    return Math.abs(found - row.lse());
  }

  @Override
  public void close() {
    for (AutoCloseable resource : resources) {
      try {
        resource.close();
      } catch (Exception e) {
        throw new IllegalStateException(e);
      }
    }
  }
}
