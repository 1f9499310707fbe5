package org.attn4j.pytorch;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertSame;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.List;
import org.attn4j.AttentionOptions;
import org.attn4j.BackendMode;
import org.attn4j.BackendVerdict;
import org.attn4j.BackendVerdict.Outcome;
import org.attn4j.BlockGrid;
import org.attn4j.InvalidAttentionArgumentException;
import org.attn4j.SdpaBackend;
import org.attn4j.SparsityOptions;
import org.attn4j.TensorLayout;
import org.attn4j.UnsupportedAttentionException;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.cuda.CUDAStream;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.bytedeco.pytorch.global.torch_cuda;
import org.testng.SkipException;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.Test;

/**
 * SpargeAttn through the drop-in. Needs a GPU, PyTorch's CUDA build and natives with SpargeAttn.
 */
public class CudaSparseTest {
  private static final long BATCH = 2;
  private static final long HEADS = 4;
  private static final long LENGTH = 1024;
  private static final long HEAD_DIM = 64;
  // INT8 scores and, on Hopper, FP8 P*V: as CudaRandomTest's tolerance, for 8192 rows.
  private static final double DENSE_L1 = 0.05;

  private static AttentionOptions sparge(SparsityOptions sparsity) {
    return AttentionOptions.builder()
        .backend(SdpaBackend.SPARGE)
        .mode(BackendMode.REQUIRE)
        .sparsity(sparsity)
        .build();
  }

  private static Tensor draw(long heads) {
    return torch.randn(
        new long[] {BATCH, heads, LENGTH, HEAD_DIM}, Torch.options(ScalarType.Half, true));
  }

  private static Tensor full(ScalarType type, double value, long... sizes) {
    return torch.full(sizes, new Scalar(value), Torch.options(type, true));
  }

  @BeforeClass
  @SuppressWarnings("try") // the scope is there to be closed
  public void needsSparge() {
    if (!torch.cuda_is_available()) {
      throw new SkipException("no CUDA device, or PyTorch's CPU build");
    }
    try (PointerScope scope = new PointerScope()) {
      Tensor q = draw(HEADS);
      BackendVerdict sparge =
          Attn4j.explain(q, q, q, null, sparge(SparsityOptions.DEFAULTS)).get(0);
      if (sparge.outcome() != Outcome.SERVES) {
        throw new SkipException("no SpargeAttn: " + sparge.reason());
      }
    }
  }

  @BeforeMethod
  public void seed() {
    torch.manual_seed(13);
  }

  /** cdfthreshd 1 keeps all in two heads, 0 keeps one block of a row in the others. */
  @Test
  @SuppressWarnings("try")
  public void thresholdsCountPerHead() {
    try (PointerScope scope = new PointerScope()) {
      Tensor q = draw(HEADS);
      Tensor k = draw(HEADS);
      Tensor v = draw(HEADS);
      Tensor cdf = full(ScalarType.Float, 1, HEADS);
      cdf.narrow(0, 2, 2).fill_(new Scalar(0));
      Tensor similarity = full(ScalarType.Float, -1, HEADS); // trusts every mean
      Tensor share = full(ScalarType.Float, Double.NaN, BATCH, HEADS);
      TorchSparsity sparsity =
          TorchSparsity.builder().cdfthreshd(cdf).simthreshd1(similarity).sparsity(share).build();
      Tensor actual =
          Attn4j.scaled_dot_product_attention(
              q, k, v, null, sparge(SparsityOptions.DEFAULTS), sparsity);
      BlockGrid grid = Attn4j.blockGrid(q, k, v, sparge(SparsityOptions.DEFAULTS));
      double one = 1 - 1.0 / grid.keyBlocks();
      for (int head = 0; head < HEADS; head++) {
        double left = share.select(1, head).mean().item_double();
        assertEquals(left, head < 2 ? 0 : one, 1e-6, "head " + head);
      }
      Tensor expected = torch.scaled_dot_product_attention(q, k, v);
      Torch.Difference kept = Torch.Difference.of(actual.narrow(1, 0, 2), expected.narrow(1, 0, 2));
      assertTrue(kept.relativeL1() < DENSE_L1, kept.toString());
      Torch.Difference pruned =
          Torch.Difference.of(actual.narrow(1, 2, 2), expected.narrow(1, 2, 2));
      assertTrue(pruned.relativeL1() > 0.3, "one block of " + grid.keyBlocks() + ": " + pruned);
    }
  }

  /** A Bool and a Char mask alike, against PyTorch with the mask spread to its elements. */
  @Test
  @SuppressWarnings("try")
  public void blockMaskIsObeyedAndReported() {
    try (PointerScope scope = new PointerScope()) {
      Tensor q = draw(HEADS);
      Tensor k = draw(2); // grouped: the mask is per query head
      Tensor v = draw(2);
      AttentionOptions options = sparge(SparsityOptions.byMask());
      BlockGrid grid = Attn4j.blockGrid(q, k, v, options);
      long[] blocks = {BATCH, HEADS, grid.queryBlocks(), grid.keyBlocks()};
      Tensor keep = torch.rand(blocks, Torch.options(ScalarType.Float, true)).gt(new Scalar(0.5));
      keep.select(3, 0).fill_(new Scalar(1)); // every row has a block
      Tensor expected =
          torch.scaled_dot_product_attention(
              q, k, v, elements(keep, grid), 0, false, new DoubleOptional(), true);
      for (ScalarType type : List.of(ScalarType.Bool, ScalarType.Char)) {
        Tensor mask = keep.to(type);
        Tensor map = full(type, 0, blocks);
        TorchSparsity sparsity = TorchSparsity.builder().blockMask(mask).blockMap(map).build();
        Tensor actual = Attn4j.scaled_dot_product_attention(q, k, v, null, options, sparsity);
        assertTrue(map.equal(mask), type + ": the report is not the mask");
        Torch.Difference difference = Torch.Difference.of(actual, expected);
        assertTrue(difference.relativeL1() < DENSE_L1, type + ": " + difference);
      }
    }
  }

  /**
   * Packed heads, with the same numbers as views of them: the same output, bit for bit, and map.
   */
  @Test
  @SuppressWarnings("try")
  public void packedHeadsAreViews() {
    try (PointerScope scope = new PointerScope()) {
      Tensor x = draw(HEADS).transpose(1, 2).contiguous(); // (batch, sequence, heads, channels)
      Tensor packed = x.flatten(2, 3);
      AttentionOptions options = sparge(SparsityOptions.byTopk(0.5f));
      AttentionOptions nhd = options.toBuilder().layout(TensorLayout.NHD).build();
      BlockGrid grid = Attn4j.blockGrid(packed, packed, packed, (int) HEADS, options);
      assertEquals(grid, Attn4j.blockGrid(x, x, x, nhd));
      long[] blocks = {BATCH, HEADS, grid.queryBlocks(), grid.keyBlocks()};
      Tensor map = full(ScalarType.Char, 7, blocks);
      Tensor mapOfViews = full(ScalarType.Char, 8, blocks);
      Tensor actual =
          Attn4j.attention(
              packed,
              packed,
              packed,
              (int) HEADS,
              null,
              options,
              TorchSparsity.builder().blockMap(map).build());
      Tensor expected =
          Attn4j.scaled_dot_product_attention(
              x, x, x, null, nhd, TorchSparsity.builder().blockMap(mapOfViews).build());
      assertTrue(map.equal(mapOfViews));
      assertTrue(actual.equal(expected.flatten(2, 3)));
    }
  }

  /** The mask of each query and key from that of the blocks. */
  private static TensorOptional elements(Tensor keep, BlockGrid grid) {
    long rows = grid.queryBlocks() * grid.queryBlock();
    long columns = grid.keyBlocks() * grid.keyBlock();
    Tensor all =
        keep.unsqueeze(3)
            .unsqueeze(5)
            .expand(
                BATCH,
                HEADS,
                grid.queryBlocks(),
                grid.queryBlock(),
                grid.keyBlocks(),
                grid.keyBlock())
            .reshape(BATCH, HEADS, rows, columns);
    return new TensorOptional(all.narrow(2, 0, LENGTH).narrow(3, 0, LENGTH));
  }

  /** A report is an order: auto mode goes to SpargeAttn however short, and PyTorch refuses. */
  @Test
  @SuppressWarnings("try")
  public void reportsAreServedBySpargeAlone() {
    try (PointerScope scope = new PointerScope()) {
      Tensor q = draw(HEADS);
      Tensor share = full(ScalarType.Float, Double.NaN, BATCH, HEADS);
      TorchSparsity report = TorchSparsity.builder().sparsity(share).build();
      AttentionOptions auto = AttentionOptions.DEFAULTS;
      List<BackendVerdict> verdicts = Attn4j.explain(q, q, q, null, auto, report);
      assertSame(verdicts.get(0).outcome(), Outcome.SERVES, verdicts.toString());
      for (BackendVerdict other : verdicts.subList(1, verdicts.size())) {
        assertSame(other.outcome(), Outcome.REFUSES, other.toString());
      }
      Attn4j.scaled_dot_product_attention(q, q, q, null, auto, report);
      BackendVerdict without = Attn4j.explain(q, q, q, null, auto, null).get(0);
      assertTrue(without.reason().startsWith("sparsity is tried from 4096 keys"), "" + without);
      double least = share.min().item_double();
      assertTrue(least >= 0 && least < 1, "the report wasn't written: " + least);
      Tensor floats = q.to(ScalarType.Float);
      expectThrows(
          UnsupportedAttentionException.class,
          () -> Attn4j.scaled_dot_product_attention(floats, floats, floats, null, auto, report));
    }
  }

  @Test
  @SuppressWarnings("try")
  public void wrongNumberOfBlocksAndWrongDeviceAreNamed() {
    try (PointerScope scope = new PointerScope()) {
      Tensor q = draw(HEADS);
      AttentionOptions options = sparge(SparsityOptions.byMask());
      TorchSparsity small =
          TorchSparsity.builder().blockMask(full(ScalarType.Bool, 1, BATCH, HEADS, 1, 1)).build();
      UnsupportedAttentionException refusal =
          expectThrows(
              UnsupportedAttentionException.class,
              () -> Attn4j.scaled_dot_product_attention(q, q, q, null, options, small));
      assertTrue(refusal.getMessage().contains("blockMask has 1 by 1 blocks"), "" + refusal);
      TorchSparsity host = TorchSparsity.builder().cdfthreshd(torch.ones(HEADS)).build();
      assertEquals(
          expectThrows(
                  InvalidAttentionArgumentException.class,
                  () ->
                      Attn4j.scaled_dot_product_attention(
                          q, q, q, null, AttentionOptions.DEFAULTS, host))
              .getMessage(),
          "cdfthreshd is on the CPU and query on CUDA device 0; they must be on the same device");
    }
  }

  /** Closed right after the call, on a stream of its own; nothing is left behind. */
  @Test
  @SuppressWarnings("try")
  public void tensorsMayBeClosedAtOnceAndNothingIsKept() {
    CUDAStream before = torch_cuda.getCurrentCUDAStream();
    try (PointerScope scope = new PointerScope()) {
      torch_cuda.setCurrentCUDAStream(torch_cuda.getStreamFromPool());
      Tensor q = draw(HEADS);
      AttentionOptions options = sparge(SparsityOptions.byMask());
      BlockGrid grid = Attn4j.blockGrid(q, q, q, options);
      long[] blocks = {BATCH, HEADS, grid.queryBlocks(), grid.keyBlocks()};
      Tensor expected = torch.scaled_dot_product_attention(q, q, q);
      TensorOptions bool = Torch.options(ScalarType.Bool, true);
      long pointers = 0;
      for (int i = 0; i < 200; i++) {
        Tensor mask = torch.ones(blocks, bool);
        Tensor actual =
            Attn4j.scaled_dot_product_attention(
                q, q, q, null, options, TorchSparsity.builder().blockMask(mask).build());
        mask.close();
        try (Tensor other = torch.zeros(blocks, bool)) { // takes its memory
          assertTrue(other.defined());
        }
        if (i % 50 == 0) {
          Torch.Difference difference = Torch.Difference.of(actual, expected);
          assertTrue(difference.relativeL1() < DENSE_L1, i + ": " + difference);
        }
        actual.close();
        pointers = i == 50 ? Pointer.totalCount() : pointers;
      }
      assertTrue(Pointer.totalCount() <= pointers + 10, "handles: " + Pointer.totalCount());
      torch_cuda.getCurrentCUDAStream().synchronize();
    } finally {
      torch_cuda.setCurrentCUDAStream(before);
    }
  }
}
