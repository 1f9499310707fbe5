package org.attn4j.samples;

import org.attn4j.Attention;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.BackendMode;
import org.attn4j.DType;
import org.attn4j.HostTensor;
import org.attn4j.SdpaBackend;

/**
 * A dense backend's work on one picture.
 *
 * @param arch the native library that ran, such as {@code sm90}, or the kind of CPU
 * @param output the output of attention, {@code [token][HEAD_DIM]}
 * @param millis time of one call: the GPU's own clock, median of several; on the CPU the wall
 *     clock, once
 */
public record BackendRun(String arch, float[] output, double millis) {
  /** Runs {@code backend} or throws org.attn4j.UnsupportedAttentionException with its reason. */
  public static BackendRun of(SdpaBackend backend, PatchTokens tokens) {
    return backend == SdpaBackend.CPU ? onCpu(tokens) : onGpu(backend, tokens);
  }

  /** Options that only {@code backend} may serve. */
  public static AttentionOptions.Builder options(SdpaBackend backend, PatchTokens tokens) {
    return AttentionOptions.builder()
        .smScale(tokens.scale())
        .backend(backend)
        .mode(BackendMode.REQUIRE);
  }

  private static BackendRun onCpu(PatchTokens tokens) {
    long[] shape = {1, 1, tokens.count(), PatchTokens.HEAD_DIM};
    try (HostTensor q = HostTensor.of(DType.FLOAT16, tokens.queries(), shape);
        HostTensor k = HostTensor.of(DType.FLOAT16, tokens.keys(), shape);
        HostTensor v = HostTensor.of(DType.FLOAT16, tokens.values(), shape);
        HostTensor o = HostTensor.allocate(DType.FLOAT16, shape)) {
      AttentionOptions options = options(SdpaBackend.CPU, tokens).build();
      AttentionRequest request =
          AttentionRequest.builder().q(q).k(k).v(v).o(o).options(options).build();
      long start = System.nanoTime();
      Attention.sdpa(request);
      double millis = (System.nanoTime() - start) / 1e6;
      return new BackendRun(System.getProperty("os.arch"), o.toFloatArray(), millis);
    }
  }

  private static BackendRun onGpu(SdpaBackend backend, PatchTokens tokens) {
    try (GpuTokens gpu = new GpuTokens(tokens)) {
      double millis = gpu.medianMillis(gpu.request(options(backend, tokens).build()).build());
      return new BackendRun(GpuTokens.arch(), gpu.output(), millis);
    }
  }
}
