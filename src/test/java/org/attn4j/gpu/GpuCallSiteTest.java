package org.attn4j.gpu;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.Random;
import org.attn4j.Attention;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.BackendMode;
import org.attn4j.BackendVerdict;
import org.attn4j.BackendVerdict.Outcome;
import org.attn4j.CausalMask;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceTensor;
import org.attn4j.SdpaBackend;
import org.attn4j.SparsityDecisions;
import org.attn4j.SparsityDecisions.Site;
import org.attn4j.SparsityDecisions.State;
import org.attn4j.SparsityOptions;
import org.attn4j.TokenGrid;
import org.attn4j.TokenOrder;
import org.attn4j.testing.Gaussian;
import org.testng.SkipException;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

/** Call sites that learn, and tokens in the order of a curve, on the GPU. */
@Test(groups = "gpu")
public class GpuCallSiteTest extends GpuTestBase {
  private static final int HEADS = 2;
  private static final int HEAD_DIM = 64;

  @BeforeClass
  public void requireSparge() {
    try (Problem p = new Problem(new float[1][], 8192)) {
      BackendVerdict verdict = Attention.explain(p.request(by(SdpaBackend.SPARGE).build())).get(0);
      if (verdict.outcome() != Outcome.SERVES) {
        throw new SkipException(verdict.reason());
      }
    }
  }

  private static AttentionOptions.Builder by(SdpaBackend backend) {
    return AttentionOptions.builder().backend(backend).mode(BackendMode.REQUIRE);
  }

  private static final class Problem implements AutoCloseable {
    final DeviceTensor q;
    final DeviceTensor k;
    final DeviceTensor v;
    final DeviceTensor o;

    /** q, k and v hold the values, or anything if there are none. */
    Problem(float[][] values, int rows) {
      q = tensor(values[0], rows);
      k = tensor(values[0] == null ? null : values[1], rows);
      v = tensor(values[0] == null ? null : values[2], rows);
      o = tensor(null, rows);
    }

    private static DeviceTensor tensor(float[] values, int rows) {
      return values == null
          ? DeviceTensor.allocate(DEVICE, DType.FLOAT16, 1, HEADS, rows, HEAD_DIM)
          : DeviceTensor.of(DEVICE, DType.FLOAT16, values, 1, HEADS, rows, HEAD_DIM);
    }

    AttentionRequest request(AttentionOptions options) {
      return AttentionRequest.builder().q(q).k(k).v(v).o(o).options(options).build();
    }

    float[] run(AttentionOptions options) {
      Attention.sdpa(request(options));
      return o.toFloatArray(CudaStream.defaultStream(DEVICE));
    }

    @Override
    public void close() {
      q.close();
      k.close();
      v.close();
      o.close();
    }
  }

  /** A smooth field over the grid: neighbours are alike, and far tokens are not. */
  private static float[] field(Random random, int length, int before, int[] sizes) {
    float[] values = Gaussian.values(random, HEADS * length * HEAD_DIM);
    float[] waves = Gaussian.values(random, 3 * HEAD_DIM);
    for (int i = 0; i < values.length; i++) {
      int token = i / HEAD_DIM % length - before;
      int c = i % HEAD_DIM;
      if (token < 0 || token >= sizes[0] * sizes[1] * sizes[2]) {
        continue;
      }
      double x = waves[c] * (token % sizes[2]) / 8.0;
      double y = waves[HEAD_DIM + c] * (token / sizes[2] % sizes[1]) / 8.0;
      double z = waves[2 * HEAD_DIM + c] * (token / sizes[2] / sizes[1]) / 8.0;
      values[i] = (float) (3 * Math.sin(x + y + z + c)) + 0.1f * values[i];
    }
    return values;
  }

  private static float[] arranged(float[] values, TokenOrder order, boolean back) {
    float[] all = new float[values.length];
    int head = order.size() * HEAD_DIM;
    for (int h = 0; h < HEADS; h++) {
      float[] rows = new float[head];
      System.arraycopy(values, h * head, rows, 0, head);
      float[] moved = back ? order.restore(rows, HEAD_DIM) : order.arrange(rows, HEAD_DIM);
      System.arraycopy(moved, 0, all, h * head, head);
    }
    return all;
  }

  /** The kernels with a grid give what they give on arranged tensors, bit for bit. */
  @Test
  public void theOrderInsideIsTheOrderOutside() {
    Random random = new Random(SEED);
    int[] sizes = {4, 24, 40};
    int before = 77;
    int length = before + 4 * 24 * 40 + 50;
    TokenGrid grid = TokenGrid.of(4, 24, 40).behind(before);
    TokenOrder order = grid.order(length);
    float[][] raster = new float[3][];
    float[][] curve = new float[3][];
    for (int i = 0; i < 3; i++) {
      raster[i] = field(random, length, before, sizes);
      curve[i] = arranged(raster[i], order, false);
    }
    AttentionOptions plain = by(SdpaBackend.SPARGE).build();
    AttentionOptions ordered = plain.toBuilder().tokenGrid(grid).build();
    try (Problem inside = new Problem(raster, length);
        Problem outside = new Problem(curve, length)) {
      BackendVerdict verdict = Attention.explain(inside.request(ordered)).get(0);
      if (verdict.outcome() != Outcome.SERVES) {
        throw new SkipException(verdict.reason());
      }
      assertEquals(inside.run(ordered), arranged(outside.run(plain), order, true));
      AttentionOptions causal = ordered.toBuilder().causalMask(CausalMask.TOP_LEFT).build();
      String refusal = Attention.explain(inside.request(causal)).get(0).reason();
      assertTrue(refusal.startsWith("token_order: is given with a causal mask"), refusal);
      AttentionOptions dense = causal.toBuilder().mode(BackendMode.PREFER).build();
      assertEquals(
          inside.run(dense),
          inside.run(by(SdpaBackend.SAGE).causalMask(CausalMask.TOP_LEFT).build()));
    }
  }

  /** Noise becomes dense, clusters stay sparse; both are known after a few calls. */
  @Test
  public void sitesLearnFromTheData() {
    Random random = new Random(SEED);
    int length = 16384;
    SparsityDecisions.forget();
    float[][] noise = new float[3][];
    float[][] runs = new float[3][];
    for (int i = 0; i < 3; i++) {
      noise[i] = Gaussian.values(random, HEADS * length * HEAD_DIM);
      runs[i] = field(random, length, 0, new int[] {1, 1, length});
    }
    AttentionOptions auto = AttentionOptions.DEFAULTS;
    try (Problem dense = new Problem(noise, length);
        Problem sparse = new Problem(runs, length)) {
      AttentionOptions a = auto.toBuilder().callSite("noise").build();
      // One that leaves out half, whatever the data.
      AttentionOptions b =
          auto.toBuilder().callSite("half").sparsity(SparsityOptions.byTopk(0.5f)).build();
      AttentionRequest first = dense.request(a);
      AttentionRequest second = sparse.request(b);
      for (int i = 0; i < 40; i++) {
        Attention.sdpa(first);
        Attention.sdpa(second);
        CudaStream.defaultStream(DEVICE).synchronize();
      }
      for (Site site : SparsityDecisions.ofThisProcess().sites()) {
        boolean isHalf = site.key().thresholds().get(3) == 0.5f;
        assertEquals(site.state(), isHalf ? State.SPARSE : State.DENSE, site.toString());
        assertEquals(site.calls(), 40);
        assertEquals(site.share(), isHalf ? 0.5f : 0f, 0.02f);
        assertEquals(site.sparseCalls(), isHalf ? 40 : 6, site.toString());
      }
      assertEquals(SparsityDecisions.ofThisProcess().sites().size(), 2);
      BackendVerdict verdict = Attention.explain(first).get(0);
      assertEquals(verdict.outcome(), Outcome.REFUSES);
      assertTrue(verdict.reason().startsWith("0.0 % of the blocks is left out"), verdict.reason());
      verdict = Attention.explain(second).get(0);
      assertEquals(verdict.outcome(), Outcome.SERVES);
    }
  }
}
