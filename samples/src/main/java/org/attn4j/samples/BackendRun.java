package org.attn4j.samples;

import java.util.Arrays;
import org.attn4j.Attention;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.Backend;
import org.attn4j.BackendMode;
import org.attn4j.CudaEvent;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceTensor;
import org.attn4j.HostTensor;
import org.attn4j.Tensor;
import org.attn4j.runtime.Arch;
import org.attn4j.runtime.NativeLibrary;

/**
 * One backend's work on one picture.
 *
 * @param backend which backend
 * @param arch the native library that ran, such as {@code sm90}, or the kind of CPU
 * @param output the output of attention, {@code [token][HEAD_DIM]}
 * @param millis time of one call: the GPU's own clock, median of several; on the CPU the wall
 *     clock, once
 */
record BackendRun(Backend backend, String arch, float[] output, double millis) {
  private static final int DEVICE = 0;
  private static final int WARM_UPS = 2;
  private static final int TIMED_RUNS = 5;

  /** Runs {@code backend} or throws org.attn4j.UnsupportedAttentionException with its reason. */
  static BackendRun of(Backend backend, PatchTokens tokens) {
    return backend == Backend.CPU ? onCpu(tokens) : onGpu(backend, tokens);
  }

  /** Tera-operations per second, counted as for dense attention: 4 * tokens^2 * head_dim. */
  double tops(int tokens) {
    return 4.0 * tokens * tokens * PatchTokens.HEAD_DIM / (millis * 1e9);
  }

  private static BackendRun onCpu(PatchTokens tokens) {
    long[] shape = {1, 1, tokens.count(), PatchTokens.HEAD_DIM};
    try (HostTensor q = HostTensor.of(DType.FLOAT16, tokens.queries(), shape);
        HostTensor k = HostTensor.of(DType.FLOAT16, tokens.keys(), shape);
        HostTensor v = HostTensor.of(DType.FLOAT16, tokens.values(), shape);
        HostTensor o = HostTensor.allocate(DType.FLOAT16, shape)) {
      AttentionRequest request = request(Backend.CPU, tokens, q, k, v, o).build();
      long start = System.nanoTime();
      Attention.sdpa(request);
      double millis = (System.nanoTime() - start) / 1e6;
      return new BackendRun(Backend.CPU, System.getProperty("os.arch"), o.toFloatArray(), millis);
    }
  }

  private static BackendRun onGpu(Backend backend, PatchTokens tokens) {
    long[] shape = {1, 1, tokens.count(), PatchTokens.HEAD_DIM};
    try (CudaStream stream = CudaStream.create(DEVICE);
        DeviceTensor q = DeviceTensor.of(DEVICE, DType.FLOAT16, tokens.queries(), shape);
        DeviceTensor k = DeviceTensor.of(DEVICE, DType.FLOAT16, tokens.keys(), shape);
        DeviceTensor v = DeviceTensor.of(DEVICE, DType.FLOAT16, tokens.values(), shape);
        DeviceTensor o = DeviceTensor.allocate(DEVICE, DType.FLOAT16, shape)) {
      AttentionRequest request = request(backend, tokens, q, k, v, o).stream(stream).build();
      double millis = medianMillis(request, stream);
      String arch = NativeLibrary.selection().arch().map(Arch::name).orElseThrow();
      return new BackendRun(backend, arch, o.toFloatArray(stream), millis);
    }
  }

  private static AttentionRequest.Builder request(
      Backend backend, PatchTokens tokens, Tensor q, Tensor k, Tensor v, Tensor o) {
    AttentionOptions options =
        AttentionOptions.builder()
            .smScale(tokens.scale())
            .backend(backend)
            .mode(BackendMode.REQUIRE)
            .build();
    return AttentionRequest.builder().q(q).k(k).v(v).o(o).options(options);
  }

  private static double medianMillis(AttentionRequest request, CudaStream stream) {
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
}
