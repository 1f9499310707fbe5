package org.attn4j.server.diffusion;

import java.util.List;
import java.util.Optional;
import org.attn4j.Attention;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.BackendInfo;
import org.attn4j.BackendVerdict;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceTensor;
import org.attn4j.SdpaBackend;
import org.attn4j.SparsityOptions;
import org.attn4j.SparsityTensors;
import org.attn4j.TensorLayout;
import org.attn4j.TokenOrder;

/**
 * Attention on GPU 0 over our own tensors, in FP16; each call brings q, k and v there and the
 * output back. Sparse, the tokens of a grid go along the Hilbert curve.
 */
final class DeviceAttention extends SelfAttention {
  private static final int DEVICE = 0;

  private final AttentionOptions dense;
  private final AttentionOptions sparse; // null: never
  private volatile String served = ""; // by whom a grid was

  /**
   * What a GPU serves dense.
   *
   * @param backend the first that is asked; the others of the chain follow
   * @param sparsity null: dense on grids too
   */
  DeviceAttention(SdpaBackend backend, SparsityOptions sparsity) {
    super(sparsity);
    AttentionOptions.Builder options = AttentionOptions.builder().layout(TensorLayout.NHD);
    dense = options.backend(backend).sparsity(SparsityOptions.OFF).build();
    sparse =
        sparsity == null ? null : options.backend(SdpaBackend.SPARGE).sparsity(sparsity).build();
  }

  /** Why no GPU serves here, or empty. */
  static Optional<String> obstacle() {
    List<BackendInfo> gpus =
        Attention.backends().stream()
            .filter(info -> !info.name().equals(SdpaBackend.CPU.id()))
            .toList();
    return gpus.stream().anyMatch(BackendInfo::ready)
        ? Optional.empty()
        : gpus.stream().findFirst().map(BackendInfo::reason);
  }

  @Override
  String backend() {
    return served.isEmpty() ? "gpu" : served.substring(0, served.indexOf(' '));
  }

  @Override
  String kernel() {
    return served.isEmpty() ? "not run yet" : served.substring(served.indexOf(' ') + 1);
  }

  @Override
  float[] dense(float[] q, float[] k, float[] v, int heads) {
    return run(q, k, v, heads, dense, false);
  }

  @Override
  float[] onGrid(float[] q, float[] k, float[] v, int heads, int height, int width) {
    if (!isSparse()) {
      return run(q, k, v, heads, dense, true);
    }
    TokenOrder order = TokenOrder.hilbert(height, width);
    int row = heads * Layers.HEAD_DIM;
    float[] output =
        run(
            order.arrange(q, row),
            order.arrange(k, row),
            order.arrange(v, row),
            heads,
            sparse,
            true);
    return order.restore(output, row);
  }

  private float[] run(
      float[] q, float[] k, float[] v, int heads, AttentionOptions options, boolean grid) {
    try (CudaStream stream = CudaStream.create(DEVICE);
        DeviceTensor queries = tensor(q, heads);
        DeviceTensor keys = tensor(k, heads);
        DeviceTensor values = tensor(v, heads);
        DeviceTensor output =
            DeviceTensor.allocate(DEVICE, DType.FLOAT16, queries.shape().sizes());
        DeviceTensor share = DeviceTensor.allocate(DEVICE, DType.FLOAT32, 1, heads)) {
      AttentionRequest.Builder request =
          AttentionRequest.builder().q(queries).k(keys).v(values).o(output).options(options).stream(
              stream);
      if (options == sparse) {
        request.sparsityTensors(SparsityTensors.builder().sparsity(share).build());
      }
      AttentionRequest built = request.build();
      if (grid && served.isEmpty()) {
        served = server(built);
      }
      Attention.sdpa(built);
      float[] result = output.toFloatArray(stream);
      if (options == sparse) {
        for (float part : share.toFloatArray(stream)) {
          count(part, 1);
        }
      }
      return result;
    }
  }

  /** Such as {@code sage int8 ...}. */
  private static String server(AttentionRequest request) {
    return Attention.explain(request).stream()
        .filter(verdict -> verdict.outcome() == BackendVerdict.Outcome.SERVES)
        .findFirst()
        .map(verdict -> verdict.backend().id() + " " + verdict.reason())
        .orElse("");
  }

  private static DeviceTensor tensor(float[] x, int heads) {
    long tokens = x.length / (heads * Layers.HEAD_DIM);
    return DeviceTensor.of(DEVICE, DType.FLOAT16, x, 1, tokens, heads, Layers.HEAD_DIM);
  }
}
