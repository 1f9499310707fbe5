package org.attn4j;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Random;
import java.util.function.Function;

/**
 * A small attention on a GPU, beside the same on the CPU: whether kernels run there, and give what
 * they should.
 */
final class KernelTrial {
  private static final long[] Q = {1, 4, 160, 64}; // batch, heads, queries, channels
  private static final long[] KV = {1, 2, 192, 64};
  private static final double EXACT = 0.005; // FP16 has about 0.0003
  private static final double QUANTISED = 0.06; // INT8 has about 0.01, with FP8 0.036

  private final HostTensor q = random(1, Q);
  private final HostTensor k = random(2, KV);
  private final HostTensor v = random(3, KV);
  private final float[] expected = onCpu();

  /**
   * What came of one kernel.
   *
   * @param kernel its name
   * @param l1 relative L1 against the CPU; NaN if it didn't run, or gave NaN
   * @param allowed the largest l1 of a kernel in order
   * @param failure why it didn't run; empty if it did
   */
  record Outcome(String kernel, double l1, double allowed, String failure) {
    boolean passed() {
      return ran() && l1 <= allowed;
    }

    boolean ran() {
      return failure.isEmpty();
    }

    @Override
    public String toString() {
      String result =
          ran()
              ? String.format(Locale.ROOT, "L1 %.4f against the CPU, %s allowed", l1, allowed)
              : failure;
      return kernel + (passed() ? ": right, " : ran() ? ": WRONG, " : ": not run, ") + result;
    }
  }

  /** Runs the dense kernels that every supported GPU has. Never throws. */
  List<Outcome> run(int device) {
    AttentionOptions.Builder sage = required(SdpaBackend.SAGE);
    List<Outcome> outcomes = new ArrayList<>();
    outcomes.add(
        judge("exact", EXACT, options -> onGpu(device, options), required(SdpaBackend.EXACT)));
    outcomes.add(judge("sage", QUANTISED, options -> onGpu(device, options), sage));
    outcomes.add(
        judge(
            "sage, 16-bit PV",
            QUANTISED,
            options -> onGpu(device, options),
            sage.sageKernel(SageKernel.QK_INT8_PV_FP16)));
    tryFp8(device, SageKernel.QK_INT8_PV_FP8).ifPresent(outcomes::add);
    tryFp8(device, SageKernel.QK_INT8_PV_FP8_SM90).ifPresent(outcomes::add);
    return outcomes;
  }

  /** A kernel with FP8 PV by name, or nothing if this GPU has another one. */
  private Optional<Outcome> tryFp8(int device, SageKernel kernel) {
    AttentionOptions.Builder options = required(SdpaBackend.SAGE).sageKernel(kernel);
    try {
      onGpu(device, options.build());
    } catch (UnsupportedAttentionException e) {
      return Optional.empty();
    } catch (RuntimeException | LinkageError e) {
      // judged below
    }
    return Optional.of(judge("sage, FP8 PV", QUANTISED, each -> onGpu(device, each), options));
  }

  private static AttentionOptions.Builder required(SdpaBackend backend) {
    return AttentionOptions.builder()
        .backend(backend)
        .mode(BackendMode.REQUIRE)
        .sparsity(SparsityOptions.OFF);
  }

  /** Compares what a server gives with what the CPU gives. */
  Outcome judge(
      String kernel,
      double allowed,
      Function<AttentionOptions, float[]> server,
      AttentionOptions.Builder options) {
    try {
      return new Outcome(kernel, relativeL1(server.apply(options.build())), allowed, "");
    } catch (RuntimeException | LinkageError e) {
      return new Outcome(kernel, Double.NaN, allowed, String.valueOf(e.getMessage()));
    }
  }

  private double relativeL1(float[] output) {
    double error = 0;
    double norm = 0;
    for (int i = 0; i < expected.length; i++) {
      error += Math.abs((double) output[i] - expected[i]);
      norm += Math.abs(expected[i]);
    }
    return error / norm;
  }

  /** The CPU's answer with these options. */
  float[] onCpu(AttentionOptions options) {
    HostTensor o = HostTensor.allocate(DType.FLOAT16, Q);
    Attention.sdpa(AttentionRequest.builder().q(q).k(k).v(v).o(o).options(options).build());
    return o.toFloatArray();
  }

  private float[] onCpu() {
    return onCpu(required(SdpaBackend.CPU).build());
  }

  private float[] onGpu(int device, AttentionOptions options) {
    try (CudaStream stream = CudaStream.create(device);
        DeviceTensor deviceQ = DeviceTensor.copyOf(q, device);
        DeviceTensor deviceK = DeviceTensor.copyOf(k, device);
        DeviceTensor deviceV = DeviceTensor.copyOf(v, device);
        DeviceTensor o = DeviceTensor.allocate(device, DType.FLOAT16, Q)) {
      Attention.sdpa(
          AttentionRequest.builder().q(deviceQ).k(deviceK).v(deviceV).o(o).options(options).stream(
                  stream)
              .build());
      return o.toFloatArray(stream);
    }
  }

  private static HostTensor random(long seed, long... sizes) {
    Random random = new Random(seed);
    HostTensor tensor = HostTensor.allocate(DType.FLOAT16, sizes);
    float[] values = new float[(int) (sizes[0] * sizes[1] * sizes[2] * sizes[3])];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) random.nextGaussian();
    }
    tensor.copyFrom(values);
    return tensor;
  }
}
