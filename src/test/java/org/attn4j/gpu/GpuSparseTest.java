package org.attn4j.gpu;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.Arrays;
import java.util.Random;
import org.attn4j.Attention;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.BackendMode;
import org.attn4j.BackendVerdict;
import org.attn4j.BackendVerdict.Outcome;
import org.attn4j.BlockGrid;
import org.attn4j.CausalMask;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceTensor;
import org.attn4j.PvAccumulator;
import org.attn4j.SageKernel;
import org.attn4j.SdpaBackend;
import org.attn4j.SparsityOptions;
import org.attn4j.SparsityTensors;
import org.attn4j.natives.BlockPoolParams;
import org.attn4j.natives.global.attn4j;
import org.attn4j.testing.Gaussian;
import org.attn4j.testing.SelectionReference;
import org.attn4j.testing.SelectionReference.Decision;
import org.attn4j.testing.SelectionReference.Thresholds;
import org.bytedeco.javacpp.Pointer;
import org.testng.SkipException;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

/** SpargeAttn end to end: the blocks it chooses, and dense attention where it keeps them all. */
@Test(groups = "gpu")
public class GpuSparseTest extends GpuTestBase {
  private static final int HEADS = 3;

  private static final class Address extends Pointer {
    Address(long value) {
      address = value;
    }
  }

  /** Inputs whose tokens come in runs of one direction, and where the call reports. */
  private static final class Problem implements AutoCloseable {
    final int queries;
    final int keys;
    final int headDim;
    final DeviceTensor q;
    final DeviceTensor k;
    final DeviceTensor v;
    final DeviceTensor o;

    Problem(Random random, int queries, int keys, int headDim) {
      this.queries = queries;
      this.keys = keys;
      this.headDim = headDim;
      q = clustered(random, queries);
      k = clustered(random, keys);
      v =
          DeviceTensor.copyOf(
              Gaussian.tensor(random, DType.FLOAT16, 1, HEADS, keys, headDim), DEVICE);
      o = DeviceTensor.allocate(DEVICE, DType.FLOAT16, 1, HEADS, queries, headDim);
    }

    private DeviceTensor clustered(Random random, int rows) {
      float[] values = Gaussian.values(random, HEADS * rows * headDim);
      float[][] directions = new float[8][];
      for (int i = 0; i < directions.length; i++) {
        directions[i] = Gaussian.values(random, headDim);
      }
      for (int i = 0; i < values.length; i++) {
        int run = i / headDim % rows / 60;
        values[i] = 0.5f * values[i] + directions[run * 5 % 8][i % headDim];
      }
      return DeviceTensor.of(DEVICE, DType.FLOAT16, values, 1, HEADS, rows, headDim);
    }

    AttentionRequest.Builder request(AttentionOptions options) {
      return AttentionRequest.builder().q(q).k(k).v(v).o(o).options(options);
    }

    /** The means [HEADS * blocks][headDim], then the similarities. */
    float[][] pool(DeviceTensor x, int block, CudaStream stream) {
      int rows = (int) x.size(2);
      int blocks = (rows + block - 1) / block;
      try (DeviceTensor means =
              DeviceTensor.allocate(DEVICE, DType.FLOAT32, HEADS, blocks, headDim);
          DeviceTensor similarity = DeviceTensor.allocate(DEVICE, DType.FLOAT32, HEADS, blocks);
          BlockPoolParams params = new BlockPoolParams()) {
        params.x().data(new Address(x.address()));
        params.x().dtype(attn4j.DType.kFloat16);
        for (int i = 0; i < 4; i++) {
          params.x().size(i, x.size(i));
          params.x().stride(i, x.stride(i));
        }
        params.block(block);
        params.means(new Address(means.address()));
        params.similarity(new Address(similarity.address()));
        assertEquals(
            attn4j.block_pool(params, stream.handle()), 0, attn4j.last_error().getString());
        return new float[][] {means.toFloatArray(stream), similarity.toFloatArray(stream)};
      }
    }

    @Override
    public void close() {
      q.close();
      k.close();
      v.close();
      o.close();
    }
  }

  private static AttentionOptions.Builder sparge(SparsityOptions sparsity) {
    // Without K smoothing block_pool alone gives what the call pools.
    return AttentionOptions.builder()
        .backend(SdpaBackend.SPARGE)
        .mode(BackendMode.REQUIRE)
        .sparsity(sparsity)
        .smoothK(false);
  }

  @BeforeClass
  public void requireSparge() {
    try (Problem p = new Problem(new Random(SEED), 64, 64, 64)) {
      AttentionRequest request = p.request(sparge(SparsityOptions.DEFAULTS).build()).build();
      BackendVerdict verdict = Attention.explain(request).get(0);
      if (verdict.outcome() != Outcome.SERVES) {
        throw new SkipException("no SpargeAttn: " + verdict.reason());
      }
    }
  }

  @Test
  public void choosesTheBlocksOfTheReference() {
    Random random = new Random(SEED);
    float[] similarities = {-1, 0, 0.3f, 0.6f};
    float[] masses = {0, 0.5f, 0.9f, 0.97f, 1};
    try (CudaStream stream = CudaStream.create(DEVICE)) {
      for (int n = 0; n < 40; n++) {
        int queries = 1 + random.nextInt(1500);
        int keys = 1 + random.nextInt(3000);
        Thresholds t =
            new Thresholds(
                similarities[n % 4],
                masses[n % 5],
                n % 3 == 0 ? random.nextFloat() : 0,
                random.nextBoolean());
        try (Problem p = new Problem(random, queries, keys, n % 2 == 0 ? 64 : 128)) {
          checkBlocks(p, t, n % 4 == 3 ? CausalMask.BOTTOM_RIGHT : CausalMask.NONE, stream);
        }
      }
    }
  }

  private static void checkBlocks(Problem p, Thresholds t, CausalMask mask, CudaStream stream) {
    SparsityOptions sparsity =
        SparsityOptions.DEFAULTS
            .withSimthreshd1(t.simthreshd1())
            .withCdfthreshd(t.cdfthreshd())
            .withTopk(t.topk())
            .withAttentionSink(t.sink());
    AttentionOptions options = sparge(sparsity).causalMask(mask).build();
    BlockGrid grid = Attention.blockGrid(p.request(options).build());
    int rows = (int) grid.queryBlocks();
    int columns = (int) grid.keyBlocks();
    try (DeviceTensor map = DeviceTensor.allocate(DEVICE, DType.INT8, 1, HEADS, rows, columns);
        DeviceTensor share = DeviceTensor.allocate(DEVICE, DType.FLOAT32, 1, HEADS)) {
      SparsityTensors tensors = SparsityTensors.builder().blockMap(map).sparsity(share).build();
      Attention.sdpa(p.request(options).sparsityTensors(tensors).stream(stream).build());
      float[] found = map.toFloatArray(stream);
      float[][] q = p.pool(p.q, (int) grid.queryBlock(), stream);
      float[][] k = p.pool(p.k, (int) grid.keyBlock(), stream);
      for (int row = 0; row < HEADS * rows; row++) {
        int visible = visible(p, mask, grid, row % rows);
        float[] scores = new float[visible];
        float[] similarity = new float[visible];
        int head = row / rows;
        float scale = 1 / (float) Math.sqrt(p.headDim) * 1.44269504088896f;
        boolean unsure = close(q[1][row], t);
        for (int j = 0; j < visible; j++) {
          int at = head * columns + j;
          similarity[j] = k[1][at];
          unsure |= close(similarity[j], t);
          scores[j] =
              SelectionReference.score(
                  Arrays.copyOfRange(q[0], row * p.headDim, (row + 1) * p.headDim),
                  Arrays.copyOfRange(k[0], at * p.headDim, (at + 1) * p.headDim),
                  scale);
        }
        if (unsure) {
          continue;
        }
        Decision[] expected = SelectionReference.select(scores, similarity, q[1][row], columns, t);
        for (int j = 0; j < columns; j++) {
          float computed = found[row * columns + j];
          String where = t + " " + mask + " row " + row + " block " + j;
          if (j >= visible) {
            assertEquals(computed, 0f, where);
          } else if (expected[j] != Decision.EITHER) {
            assertEquals(computed, expected[j] == Decision.KEEP ? 1f : 0f, where);
          }
        }
      }
      checkShare(p, mask, grid, found, share.toFloatArray(stream));
    }
  }

  /** Hopper's kernels add up a block's rows in another order than block_pool. */
  private static boolean close(float similarity, Thresholds t) {
    return Math.abs(similarity - t.simthreshd1()) < 1e-5f;
  }

  private static int visible(Problem p, CausalMask mask, BlockGrid grid, int row) {
    long last = Math.min((row + 1) * grid.queryBlock(), p.queries) - 1;
    long seen =
        mask == CausalMask.NONE
            ? p.keys
            : Math.max(0, Math.min(p.keys, last + p.keys - p.queries + 1));
    return (int) ((seen + grid.keyBlock() - 1) / grid.keyBlock());
  }

  private static void checkShare(
      Problem p, CausalMask mask, BlockGrid grid, float[] map, float[] share) {
    int rows = (int) grid.queryBlocks();
    int perHead = rows * (int) grid.keyBlocks();
    for (int head = 0; head < HEADS; head++) {
      double kept = 0;
      double seen = 0;
      for (int i = 0; i < perHead; i++) {
        kept += map[head * perHead + i];
      }
      for (int row = 0; row < rows; row++) {
        seen += visible(p, mask, grid, row);
      }
      assertEquals(share[head], seen == 0 ? 0 : 1 - kept / seen, 1e-6, "sparsity");
    }
  }

  /** Bit for bit in FP8; else, on Hopper, within the rounding of fp16: dense is another kernel. */
  @Test
  public void keepingEverythingIsDense() {
    Random random = new Random(SEED);
    SparsityOptions everything =
        SparsityOptions.byTopk(1).withPvthreshd(Float.POSITIVE_INFINITY).withSimthreshd1(-1);
    boolean fp8 = GpuKernel.available().contains(GpuKernel.INT8_FP8_SM90);
    for (CausalMask mask : CausalMask.values()) {
      for (int headDim : new int[] {64, 80, 128}) {
        try (CudaStream stream = CudaStream.create(DEVICE);
            Problem p = new Problem(random, 700, 900, headDim)) {
          AttentionOptions.Builder sparse = sparge(everything).causalMask(mask);
          AttentionOptions.Builder dense =
              AttentionOptions.builder()
                  .backend(SdpaBackend.SAGE)
                  .mode(BackendMode.REQUIRE)
                  .smoothK(false)
                  .causalMask(mask);
          String what = mask + " " + headDim;
          double f16 =
              difference(
                  p,
                  stream,
                  sparse.pvAccumulator(PvAccumulator.FP32).build(),
                  dense.sageKernel(SageKernel.QK_INT8_PV_FP16).build());
          assertTrue(f16 <= 1e-3, what + ": " + f16);
          if (fp8) {
            double found =
                difference(
                    p,
                    stream,
                    sparse.pvAccumulator(PvAccumulator.DEFAULT).build(),
                    dense.sageKernel(SageKernel.QK_INT8_PV_FP8_SM90).build());
            assertEquals(found, 0, what);
          }
        }
      }
    }
  }

  private static double difference(
      Problem p, CudaStream stream, AttentionOptions sparse, AttentionOptions dense) {
    Attention.sdpa(p.request(sparse).stream(stream).build());
    float[] found = p.o.toFloatArray(stream);
    Attention.sdpa(p.request(dense).stream(stream).build());
    float[] expected = p.o.toFloatArray(stream);
    double error = 0;
    double norm = 0;
    for (int i = 0; i < expected.length; i++) {
      error += Math.abs(found[i] - expected[i]);
      norm += Math.abs(expected[i]);
    }
    return error / norm;
  }

  @Test
  public void rowsWithoutBlocksAreZero() {
    try (CudaStream stream = CudaStream.create(DEVICE);
        Problem p = new Problem(new Random(SEED), 300, 400, 64)) {
      AttentionOptions options = sparge(SparsityOptions.byMask()).build();
      BlockGrid grid =
          Attention.blockGrid(p.request(sparge(SparsityOptions.DEFAULTS).build()).build());
      try (DeviceTensor mask =
          DeviceTensor.allocate(
              DEVICE, DType.INT8, 1, HEADS, grid.queryBlocks(), grid.keyBlocks())) {
        mask.memory().fill(0, stream);
        SparsityTensors tensors = SparsityTensors.builder().blockMask(mask).build();
        Attention.sdpa(p.request(options).sparsityTensors(tensors).stream(stream).build());
        float[] found = p.o.toFloatArray(stream);
        assertEquals(found, new float[found.length]);
      }
    }
  }
}
