package org.attn4j.samples;

import java.util.Arrays;
import org.attn4j.Attention;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.CudaEvent;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceTensor;
import org.attn4j.runtime.Arch;
import org.attn4j.runtime.DeviceChoice;
import org.attn4j.runtime.NativeLibrary;

/** The tokens of a picture on the GPU, with a place for the output. Closing frees them. */
public final class GpuTokens implements AutoCloseable {
  static final int DEVICE = 0;

  private static final int WARM_UPS = 2;
  private static final int TIMED_RUNS = 5;

  private final CudaStream stream = CudaStream.create(DEVICE);
  private final DeviceTensor q;
  private final DeviceTensor k;
  private final DeviceTensor v;
  private final DeviceTensor o;

  public GpuTokens(PatchTokens tokens) {
    long[] shape = {1, 1, tokens.count(), PatchTokens.HEAD_DIM};
    q = DeviceTensor.of(DEVICE, DType.FLOAT16, tokens.queries(), shape);
    k = DeviceTensor.of(DEVICE, DType.FLOAT16, tokens.keys(), shape);
    v = DeviceTensor.of(DEVICE, DType.FLOAT16, tokens.values(), shape);
    o = DeviceTensor.allocate(DEVICE, DType.FLOAT16, shape);
  }

  /** The native library that runs here, such as {@code sm90}. */
  public static String arch() {
    return NativeLibrary.selection()
        .choice(DEVICE)
        .flatMap(DeviceChoice::arch)
        .map(Arch::name)
        .orElseThrow();
  }

  public AttentionRequest.Builder request(AttentionOptions options) {
    return AttentionRequest.builder().q(q).k(k).v(v).o(o).options(options).stream(stream);
  }

  /** What a request left in the output, {@code [token][HEAD_DIM]}. */
  public float[] output() {
    return o.toFloatArray(stream);
  }

  /** The numbers that a request wrote into one of its own tensors. */
  public float[] read(DeviceTensor report) {
    return report.toFloatArray(stream);
  }

  /** The time of one call by the GPU's own clock: the median of several. */
  public double medianMillis(AttentionRequest request) {
    try (CudaEvent start = CudaEvent.create(DEVICE);
        CudaEvent end = CudaEvent.create(DEVICE)) {
      for (int i = 0; i < WARM_UPS; i++) {
        Attention.sdpa(request);
      }
      double[] millis = new double[TIMED_RUNS];
      for (int i = 0; i < TIMED_RUNS; i++) {
        start.record(stream);
        Attention.sdpa(request);
        end.record(stream);
        millis[i] = start.millisUntil(end);
      }
      Arrays.sort(millis);
      return millis[TIMED_RUNS / 2];
    }
  }

  @Override
  public void close() {
    q.close();
    k.close();
    v.close();
    o.close();
    stream.close();
  }
}
