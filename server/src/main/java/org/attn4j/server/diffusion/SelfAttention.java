package org.attn4j.server.diffusion;

import java.util.concurrent.atomic.DoubleAdder;
import org.attn4j.Attention;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.BackendMode;
import org.attn4j.BlockGrid;
import org.attn4j.DType;
import org.attn4j.HostTensor;
import org.attn4j.SdpaBackend;
import org.attn4j.SparsityOptions;
import org.attn4j.TensorLayout;
import org.attn4j.TokenOrder;
import org.attn4j.samples.BlockMap;
import org.attn4j.samples.BlockRows;
import org.attn4j.samples.BlockSelection;

/**
 * Attention of tokens {@code [token][head][64]} on the CPU backend. Sparse, the tokens go along the
 * Hilbert curve, and the blocks are those that SpargeAttn's rule chooses.
 */
class SelfAttention {
  private static final float SCALE = (float) (1 / Math.sqrt(Layers.HEAD_DIM));

  private final SparsityOptions sparsity; // null: dense
  private final AttentionOptions options =
      AttentionOptions.builder()
          .layout(TensorLayout.NHD)
          .backend(SdpaBackend.CPU)
          .mode(BackendMode.REQUIRE)
          .build();
  private final DoubleAdder leftOut = new DoubleAdder();
  private final DoubleAdder blocks = new DoubleAdder();

  SelfAttention(SparsityOptions sparsity) {
    this.sparsity = sparsity;
  }

  boolean isSparse() {
    return sparsity != null;
  }

  /** Who computes it, such as {@code cpu}. */
  String backend() {
    return SdpaBackend.CPU.id();
  }

  /** How, in a few words. */
  String kernel() {
    return isSparse()
        ? "fp32 reference, over the blocks that SpargeAttn's rule chose, in Java"
        : "fp32 reference";
  }

  /** Of so many blocks this share was left out. */
  final void count(double share, double of) {
    leftOut.add(share * of);
    blocks.add(of);
  }

  double leftOut() {
    return blocks.sum() == 0 ? 0 : leftOut.sum() / blocks.sum();
  }

  /** Exact, over all keys. */
  float[] dense(float[] q, float[] k, float[] v, int heads) {
    try (HostTensor queries = tensor(q, heads);
        HostTensor keys = tensor(k, heads);
        HostTensor values = tensor(v, heads);
        HostTensor output =
            HostTensor.allocate(DType.FLOAT32, 1, count(q, heads), heads, Layers.HEAD_DIM)) {
      Attention.sdpa(
          AttentionRequest.builder()
              .q(queries)
              .k(keys)
              .v(values)
              .o(output)
              .options(options)
              .build());
      return output.toFloatArray();
    }
  }

  /** Self-attention of the tokens of a grid, line by line; as dense or sparse as was asked for. */
  float[] onGrid(float[] q, float[] k, float[] v, int heads, int height, int width) {
    if (!isSparse()) {
      return dense(q, k, v, heads);
    }
    TokenOrder order = TokenOrder.hilbert(height, width);
    float[] output = new float[q.length];
    for (int head = 0; head < heads; head++) {
      float[] queries = arranged(q, heads, head, order);
      float[] keys = arranged(k, heads, head, order);
      BlockGrid grid = BlockSelection.grid(order.size(), order.size());
      BlockMap map =
          new BlockSelection(Layers.HEAD_DIM, SCALE, sparsity).select(queries, keys, grid);
      count(map.sparsity(), (double) map.rows() * map.columns());
      try (BlockRows rows =
          new BlockRows(queries, keys, arranged(v, heads, head, order), SCALE, map)) {
        rows.run();
        float[] result = order.restore(rows.output(), Layers.HEAD_DIM);
        for (int i = 0; i < result.length; i++) {
          int token = i / Layers.HEAD_DIM;
          output[(token * heads + head) * Layers.HEAD_DIM + i % Layers.HEAD_DIM] = result[i];
        }
      }
    }
    return output;
  }

  private static float[] arranged(float[] x, int heads, int head, TokenOrder order) {
    float[] one = new float[x.length / heads];
    for (int i = 0; i < one.length; i++) {
      int token = i / Layers.HEAD_DIM;
      one[i] = x[(token * heads + head) * Layers.HEAD_DIM + i % Layers.HEAD_DIM];
    }
    return order.arrange(one, Layers.HEAD_DIM);
  }

  private static long count(float[] x, int heads) {
    return x.length / (heads * Layers.HEAD_DIM);
  }

  private static HostTensor tensor(float[] x, int heads) {
    return HostTensor.of(DType.FLOAT32, x, 1, count(x, heads), heads, Layers.HEAD_DIM);
  }
}
