package org.attn4j.pytorch;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertSame;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.util.List;
import org.attn4j.AttentionOptions;
import org.attn4j.BackendMode;
import org.attn4j.BackendVerdict;
import org.attn4j.InvalidAttentionArgumentException;
import org.attn4j.SdpaBackend;
import org.attn4j.SparsityOptions;
import org.attn4j.TensorLayout;
import org.attn4j.UnsupportedAttentionException;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** What a call takes besides its tensors for SpargeAttn, and who refuses, on CPU tensors. */
public class SparsityApiTest {
  private static final AttentionOptions BY_MASS = AttentionOptions.DEFAULTS;
  private static final AttentionOptions BY_MASK =
      AttentionOptions.builder().sparsity(SparsityOptions.byMask()).build();

  private Tensor q;
  private Tensor k;
  private Tensor v;

  @BeforeMethod
  public void draw() {
    torch.manual_seed(7);
    q = torch.randn(2, 6, 33, 40);
    k = torch.randn(2, 3, 21, 40);
    v = torch.randn(2, 3, 21, 40);
  }

  private Tensor sdpa(AttentionOptions options, TorchSparsity sparsity) {
    return Attn4j.scaled_dot_product_attention(q, k, v, null, options, sparsity);
  }

  private List<String> verdicts(AttentionOptions options, TorchSparsity sparsity) {
    return Attn4j.explain(q, k, v, null, options, sparsity).stream()
        .map(BackendVerdict::toString)
        .toList();
  }

  private static Tensor ones(ScalarType type, long... sizes) {
    return torch.ones(sizes, Torch.options(type, false));
  }

  @Test
  public void thresholdsAreAPermission() {
    Tensor expected = Attn4j.scaled_dot_product_attention(q, k, v, BY_MASS);
    TorchSparsity thresholds =
        TorchSparsity.builder()
            .simthreshd1(ones(ScalarType.Float, 6))
            .cdfthreshd(ones(ScalarType.Float, 6))
            .topk(ones(ScalarType.Float, 6))
            .pvthreshd(ones(ScalarType.Float, 6))
            .build();
    assertFalse(thresholds.needsSparge());
    assertTrue(sdpa(BY_MASS, thresholds).equal(expected));
    assertTrue(sdpa(BY_MASS, null).equal(expected));
    AttentionOptions cpu = AttentionOptions.builder().backend(SdpaBackend.CPU).build();
    assertTrue(Torch.Difference.of(sdpa(cpu, thresholds), expected).largest() < 2e-5);
    assertEquals(
        verdicts(BY_MASS, thresholds).get(3), "pytorch SERVES: torch.scaled_dot_product_attention");
  }

  @DataProvider
  public Object[][] orders() {
    Tensor share = ones(ScalarType.Float, 2, 6);
    Tensor map = ones(ScalarType.Char, 2, 6, 1, 1);
    Tensor mask = ones(ScalarType.Bool, 2, 6, 1, 1);
    return new Object[][] {
      {BY_MASS, TorchSparsity.builder().sparsity(share).build()},
      {BY_MASS, TorchSparsity.builder().blockMap(map).build()},
      {BY_MASK, TorchSparsity.builder().blockMask(mask).build()},
    };
  }

  /** PyTorch would ignore the order, so nobody serves; CPU tensors have no SpargeAttn. */
  @Test(dataProvider = "orders")
  public void masksAndReportsAreOrders(AttentionOptions options, TorchSparsity sparsity) {
    assertTrue(sparsity.needsSparge());
    for (SdpaBackend backend :
        new SdpaBackend[] {SdpaBackend.AUTO, SdpaBackend.PYTORCH, SdpaBackend.CPU}) {
      AttentionOptions chosen = options.toBuilder().backend(backend).build();
      UnsupportedAttentionException refusal =
          expectThrows(UnsupportedAttentionException.class, () -> sdpa(chosen, sparsity));
      assertTrue(
          refusal
                  .getMessage()
                  .contains("pytorch: the request has a block mask or asks for a report of blocks")
              || backend == SdpaBackend.CPU,
          refusal.getMessage());
    }
    List<String> verdicts = verdicts(options, sparsity);
    assertEquals(
        verdicts.get(0), "sparge REFUSES: query is not on a CUDA device, where SpargeAttn runs");
    assertEquals(
        verdicts.get(3),
        "pytorch REFUSES: the request has a block mask or asks for a report of blocks");
    assertTrue(verdicts.get(4).startsWith("cpu REFUSES"), verdicts.get(4));
  }

  @Test
  public void reportsAreNotOverriddenByAScopeThatAsksForPyTorch() {
    TorchSparsity report = TorchSparsity.builder().sparsity(ones(ScalarType.Float, 2, 6)).build();
    try (AttentionScope pytorch = Attn4j.use(SdpaBackend.PYTORCH)) {
      assertSame(pytorch.options().backend(), SdpaBackend.PYTORCH);
      expectThrows(UnsupportedAttentionException.class, () -> sdpa(BY_MASS, report));
    }
    AttentionOptions off = AttentionOptions.builder().mode(BackendMode.OFF).build();
    expectThrows(UnsupportedAttentionException.class, () -> sdpa(off, report));
  }

  private record Bad(AttentionOptions options, TorchSparsity sparsity, String message) {
    @Override
    public String toString() {
      return message;
    }
  }

  @DataProvider
  public Object[][] badTensors() {
    draw();
    TorchSparsity.Builder none = TorchSparsity.builder();
    Tensor closed = ones(ScalarType.Float, 6);
    closed.close();
    Bad[] bad = {
      new Bad(
          BY_MASS,
          TorchSparsity.builder().simthreshd1(ones(ScalarType.Double, 6)).build(),
          "simthreshd1 is Double; Float is accepted"),
      new Bad(
          BY_MASS,
          TorchSparsity.builder().cdfthreshd(ones(ScalarType.Float, 3)).build(),
          "cdfthreshd has sizes [3]; (6) is accepted"),
      new Bad(
          BY_MASS,
          TorchSparsity.builder()
              .topk(ones(ScalarType.Float, 12).slice(0, opt(0), opt(12), 2))
              .build(),
          "topk has sizes [6] with gaps; contiguous is accepted"),
      new Bad(
          BY_MASS,
          TorchSparsity.builder().pvthreshd(closed).build(),
          "pvthreshd is an undefined or closed tensor; an open one or none is accepted"),
      new Bad(
          BY_MASS,
          TorchSparsity.builder().sparsity(ones(ScalarType.Float, 6)).build(),
          "sparsity has sizes [6]; (2, 6) is accepted"),
      new Bad(
          BY_MASS,
          TorchSparsity.builder().blockMap(ones(ScalarType.Float, 2, 6, 1, 1)).build(),
          "blockMap is Float; Bool and Char are accepted"),
      new Bad(
          BY_MASK,
          TorchSparsity.builder().blockMask(ones(ScalarType.Bool, 2, 3, 1, 1)).build(),
          "blockMask has sizes [2, 3, 1, 1]; (2, 6, query blocks, key blocks) is accepted"),
      new Bad(
          BY_MASS,
          TorchSparsity.builder().blockMask(ones(ScalarType.Bool, 2, 6, 1, 1)).build(),
          "blockMask is set and the selection is MASS; SparsityOptions.byMask() reads it"),
      new Bad(BY_MASK, none.build(), "blockMask is null; selection MASK needs one"),
      new Bad(
          BY_MASK, null, "blockMask is missing; selection MASK needs a TorchSparsity that has one"),
    };
    Object[][] rows = new Object[bad.length][];
    for (int i = 0; i < bad.length; i++) {
      rows[i] = new Object[] {bad[i]};
    }
    return rows;
  }

  private static org.bytedeco.pytorch.LongOptional opt(long value) {
    return new org.bytedeco.pytorch.LongOptional(value);
  }

  @Test(dataProvider = "badTensors")
  public void badTensorIsNamed(Bad bad) {
    InvalidAttentionArgumentException refusal =
        expectThrows(
            InvalidAttentionArgumentException.class, () -> sdpa(bad.options(), bad.sparsity()));
    assertEquals(refusal.getMessage(), bad.message());
  }

  @Test
  public void headsAreCountedInTheLayoutOfTheCall() {
    AttentionOptions nhd = AttentionOptions.builder().layout(TensorLayout.NHD).build();
    Tensor six = torch.randn(2, 33, 6, 40);
    TorchSparsity thresholds =
        TorchSparsity.builder().cdfthreshd(ones(ScalarType.Float, 6)).build();
    Tensor expected = Attn4j.scaled_dot_product_attention(six, six, six, nhd);
    assertTrue(
        Attn4j.scaled_dot_product_attention(six, six, six, null, nhd, thresholds).equal(expected));
    TorchSparsity tokens = TorchSparsity.builder().cdfthreshd(ones(ScalarType.Float, 33)).build();
    expectThrows(
        InvalidAttentionArgumentException.class,
        () -> Attn4j.scaled_dot_product_attention(six, six, six, null, nhd, tokens));
  }

  @Test
  public void blocksOfACallThatSpargeCannotServe() {
    UnsupportedAttentionException refusal =
        expectThrows(UnsupportedAttentionException.class, () -> Attn4j.blockGrid(q, k, v, BY_MASK));
    assertTrue(
        refusal.getMessage().startsWith("SpargeAttn can't serve the call: query is on the CPU"),
        refusal.getMessage());
  }
}
