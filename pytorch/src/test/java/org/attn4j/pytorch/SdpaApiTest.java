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
import org.attn4j.CausalMask;
import org.attn4j.InvalidAttentionArgumentException;
import org.attn4j.SdpaBackend;
import org.attn4j.TensorLayout;
import org.attn4j.UnsupportedAttentionException;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeMethod;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** Every signature, option and switch of the drop-in, on CPU tensors. */
public class SdpaApiTest {
  private static final AttentionOptions CPU =
      AttentionOptions.builder().backend(SdpaBackend.CPU).mode(BackendMode.REQUIRE).build();
  private static final double TOLERANCE = 2e-5; // as in SdpaCpuTest

  private Tensor q;
  private Tensor k;
  private Tensor v;

  @BeforeMethod
  public void draw() {
    torch.manual_seed(7);
    q = torch.randn(2, 6, 33, 40);
    k = torch.randn(2, 6, 21, 40);
    v = torch.randn(2, 6, 21, 40);
  }

  @AfterMethod
  public void reset() {
    Attn4j.setDefaults(AttentionOptions.DEFAULTS);
    Attn4j.setThresholds(Thresholds.MEASURED);
    Attn4j.checkFirst(0);
    Attn4j.inspectDeviceMasks(false);
  }

  private static Tensor sdpa(Tensor q, Tensor k, Tensor v) {
    return torch.scaled_dot_product_attention(q, k, v);
  }

  private static Tensor sdpa(
      Tensor q, Tensor k, Tensor v, TensorOptional mask, boolean causal, boolean grouped) {
    return torch.scaled_dot_product_attention(
        q, k, v, mask, 0, causal, new DoubleOptional(), grouped);
  }

  private static void assertClose(Tensor actual, Tensor expected) {
    Torch.Difference difference = Torch.Difference.of(actual, expected);
    assertTrue(difference.sameSizes() && difference.largest() <= TOLERANCE, difference.toString());
  }

  @Test
  public void threeArguments() {
    assertTrue(Attn4j.scaled_dot_product_attention(q, k, v).equal(sdpa(q, k, v)));
  }

  @Test
  public void eightArguments() {
    TensorOptional none = new TensorOptional();
    DoubleOptional scale = new DoubleOptional(0.2);
    Tensor expected = torch.scaled_dot_product_attention(q, k, v, none, 0, true, scale, false);
    Tensor actual = Attn4j.scaled_dot_product_attention(q, k, v, none, 0, true, scale, false);
    assertTrue(actual.equal(expected));
    Tensor withNulls = Attn4j.scaled_dot_product_attention(q, k, v, null, 0, false, null, false);
    assertTrue(withNulls.equal(sdpa(q, k, v)));
  }

  @Test
  public void dropoutIsPyTorchs() {
    TensorOptional none = new TensorOptional();
    DoubleOptional scale = new DoubleOptional();
    torch.manual_seed(3);
    Tensor expected = torch.scaled_dot_product_attention(q, k, v, none, 0.5, false, scale, false);
    torch.manual_seed(3);
    assertTrue(
        Attn4j.scaled_dot_product_attention(q, k, v, none, 0.5, false, scale, false)
            .equal(expected));
  }

  @Test
  public void gradientsFlow() {
    q.requires_grad_(true);
    Tensor result = Attn4j.scaled_dot_product_attention(q, k, v);
    assertTrue(result.requires_grad());
    result.sum().backward();
    assertTrue(q.grad().isfinite().all().item_bool());
  }

  @Test
  public void requiredGradientKeepsOurKernelsAway() {
    q.requires_grad_(true);
    UnsupportedAttentionException refusal =
        expectThrows(
            UnsupportedAttentionException.class,
            () -> Attn4j.scaled_dot_product_attention(q, k, v, CPU));
    assertTrue(refusal.getMessage().contains("a gradient is required"), refusal.getMessage());
    try (org.bytedeco.pytorch.NoGradGuard guard = new org.bytedeco.pytorch.NoGradGuard()) {
      assertFalse(guard.isNull());
      assertClose(Attn4j.scaled_dot_product_attention(q, k, v, CPU), sdpa(q, k, v));
    }
  }

  @Test
  public void optionsOnEitherServer() {
    for (AttentionOptions base : List.of(AttentionOptions.DEFAULTS, CPU)) {
      AttentionOptions scaled = base.toBuilder().smScale(0.3f).build();
      Tensor expected =
          torch.scaled_dot_product_attention(
              q, k, v, new TensorOptional(), 0, false, new DoubleOptional(0.3), false);
      assertClose(Attn4j.scaled_dot_product_attention(q, k, v, scaled), expected);

      AttentionOptions causal = base.toBuilder().causalMask(CausalMask.TOP_LEFT).build();
      expected = sdpa(q, k, v, new TensorOptional(), true, false);
      assertClose(Attn4j.scaled_dot_product_attention(q, k, v, causal), expected);

      AttentionOptions nhd = base.toBuilder().layout(TensorLayout.NHD).build();
      Tensor qn = q.transpose(1, 2).contiguous();
      Tensor kn = k.transpose(1, 2).contiguous();
      Tensor vn = v.transpose(1, 2).contiguous();
      assertClose(
          Attn4j.scaled_dot_product_attention(qn, kn, vn, nhd).transpose(1, 2), sdpa(q, k, v));
    }
  }

  @Test
  public void bottomRightOnEitherServer() {
    Tensor rows = torch.arange(new Scalar(21)).unsqueeze(1);
    Tensor mask = torch.arange(new Scalar(33)).le(rows.add(new Scalar(12)));
    Tensor expected = sdpa(k, q, q, new TensorOptional(mask), false, false);
    for (AttentionOptions base : List.of(AttentionOptions.DEFAULTS, CPU)) {
      AttentionOptions causal = base.toBuilder().causalMask(CausalMask.BOTTOM_RIGHT).build();
      assertClose(Attn4j.scaled_dot_product_attention(k, q, q, causal), expected);
      Tensor square = sdpa(q, q, q, new TensorOptional(), true, false);
      assertClose(Attn4j.scaled_dot_product_attention(q, q, q, causal), square);
    }
  }

  @Test
  public void groupedHeadsOnEitherServer() {
    Tensor k2 = k.narrow(1, 0, 2);
    Tensor v2 = v.narrow(1, 3, 2);
    Tensor expected = sdpa(q, k2, v2, new TensorOptional(), false, true);
    assertClose(
        Attn4j.scaled_dot_product_attention(q, k2, v2, AttentionOptions.DEFAULTS), expected);
    assertClose(Attn4j.scaled_dot_product_attention(q, k2, v2, CPU), expected);
  }

  @Test
  public void packedHeads() {
    Tensor packedQ = torch.randn(2, 33, 6 * 40);
    Tensor fused = torch.randn(2, 21, 2 * 6 * 40);
    Tensor packedK = fused.narrow(2, 0, 240);
    Tensor packedV = fused.narrow(2, 240, 240);
    Tensor hq = packedQ.view(2, 33, 6, 40).transpose(1, 2);
    Tensor hk = packedK.view(2, 21, 6, 40).transpose(1, 2);
    Tensor hv = packedV.view(2, 21, 6, 40).transpose(1, 2);
    Tensor expected = sdpa(hq, hk, hv).transpose(1, 2).reshape(2, 33, 240);
    assertClose(Attn4j.attention(packedQ, packedK, packedV, 6), expected);
    try (AttentionScope scope = Attn4j.use(CPU)) {
      assertSame(scope.options(), CPU);
      assertClose(Attn4j.attention(packedQ, packedK, packedV, 6), expected);
    }
    Tensor mask = torch.randn(33, 21);
    expected =
        sdpa(hq, hk, hv, new TensorOptional(mask), false, false)
            .transpose(1, 2)
            .reshape(2, 33, 240);
    assertClose(Attn4j.attention(packedQ, packedK, packedV, 6, mask), expected);
  }

  /** Packed heads with options: the same call on views, whoever serves it. */
  @Test
  public void packedHeadsTakeOptions() {
    Tensor packedQ = torch.randn(2, 33, 240);
    Tensor packedK = torch.randn(2, 21, 240);
    Tensor packedV = torch.randn(2, 21, 240);
    AttentionOptions options =
        AttentionOptions.builder().causalMask(CausalMask.BOTTOM_RIGHT).smScale(0.3f).build();
    AttentionOptions nhd = options.toBuilder().layout(TensorLayout.NHD).build();
    for (SdpaBackend backend : new SdpaBackend[] {SdpaBackend.PYTORCH, SdpaBackend.CPU}) {
      Tensor expected =
          Attn4j.scaled_dot_product_attention(
              packedQ.view(2, 33, 6, 40),
              packedK.view(2, 21, 6, 40),
              packedV.view(2, 21, 6, 40),
              nhd.toBuilder().backend(backend).build());
      AttentionOptions chosen = options.toBuilder().backend(backend).build();
      Tensor actual = Attn4j.attention(packedQ, packedK, packedV, 6, null, chosen, null);
      assertClose(actual, expected.reshape(2, 33, 240));
      assertEquals(
          Attn4j.explain(packedQ, packedK, packedV, 6, null, chosen, null).stream()
              .filter(x -> x.outcome() == BackendVerdict.Outcome.SERVES)
              .findFirst()
              .orElseThrow()
              .backend(),
          backend);
    }
    assertEquals(
        expectThrows(
                InvalidAttentionArgumentException.class,
                () -> Attn4j.attention(packedQ, packedK, packedV, 6, null, nhd, null))
            .getMessage(),
        "options.layout is NHD; packed heads have a layout of their own, and the default is"
            + " accepted");
    assertEquals(
        expectThrows(
                UnsupportedAttentionException.class,
                () -> Attn4j.blockGrid(packedQ, packedK, packedV, 6, options))
            .getMessage(),
        "SpargeAttn can't serve the call: query is on the CPU, where PyTorch's own kernels serve"
            + " unless the backend cpu is chosen");
  }

  /** Tensors for SpargeAttn are checked against the heads that are packed. */
  @Test
  public void packedHeadsTakeSparsity() {
    Tensor x = torch.randn(2, 33, 240);
    AttentionOptions options = AttentionOptions.DEFAULTS;
    TorchSparsity six = TorchSparsity.builder().cdfthreshd(torch.ones(6)).build();
    TorchSparsity four = TorchSparsity.builder().cdfthreshd(torch.ones(4)).build();
    assertClose(Attn4j.attention(x, x, x, 6, null, options, six), Attn4j.attention(x, x, x, 6));
    assertEquals(
        expectThrows(
                InvalidAttentionArgumentException.class,
                () -> Attn4j.attention(x, x, x, 6, null, options, four))
            .getMessage(),
        "cdfthreshd has sizes [4]; (6) is accepted");
    TorchSparsity report = TorchSparsity.builder().sparsity(torch.ones(2, 6)).build();
    expectThrows(
        UnsupportedAttentionException.class,
        () -> Attn4j.attention(x, x, x, 6, null, options, report));
  }

  @Test
  public void outputKeepsTheOrderOfQuerysMemory() {
    Tensor nhd = torch.randn(2, 33, 6, 40).transpose(1, 2);
    Tensor result = Attn4j.scaled_dot_product_attention(nhd, k, v, CPU);
    assertTrue(result.transpose(1, 2).is_contiguous());
    assertTrue(Attn4j.scaled_dot_product_attention(q, k, v, CPU).is_contiguous());
  }

  @Test
  public void choiceOfCallThenScopeThenProcess() throws InterruptedException {
    assertEquals(served(AttentionOptions.DEFAULTS), SdpaBackend.PYTORCH);
    Attn4j.setDefaults(CPU);
    assertEquals(served(AttentionOptions.DEFAULTS), SdpaBackend.CPU);
    try (AttentionScope outer = Attn4j.use(SdpaBackend.PYTORCH)) {
      assertEquals(served(AttentionOptions.DEFAULTS), SdpaBackend.PYTORCH);
      try (AttentionScope inner = Attn4j.use(SdpaBackend.CPU)) {
        assertEquals(served(AttentionOptions.DEFAULTS), SdpaBackend.CPU);
        AttentionOptions own = AttentionOptions.builder().backend(SdpaBackend.PYTORCH).build();
        assertEquals(served(own), SdpaBackend.PYTORCH);
        expectThrows(IllegalStateException.class, outer::close);
        assertEquals(inner.options().backend(), SdpaBackend.CPU);
      }
      SdpaBackend[] elsewhere = new SdpaBackend[1];
      Thread other = new Thread(() -> elsewhere[0] = served(AttentionOptions.DEFAULTS));
      other.start();
      other.join();
      assertEquals(elsewhere[0], SdpaBackend.CPU); // the process's, not this thread's
    }
  }

  @Test
  public void scopeTakesNothingThatBelongsToACall() {
    AttentionOptions scaled = AttentionOptions.builder().smScale(0.5f).build();
    expectThrows(InvalidAttentionArgumentException.class, () -> Attn4j.use(scaled));
    AttentionOptions nhd = AttentionOptions.builder().layout(TensorLayout.NHD).build();
    expectThrows(InvalidAttentionArgumentException.class, () -> Attn4j.setDefaults(nhd));
  }

  @Test
  public void scopesBackendServesCausalAndScaledCalls() {
    TensorOptional none = new TensorOptional();
    DoubleOptional scale = new DoubleOptional(0.3);
    Tensor expected = torch.scaled_dot_product_attention(q, k, v, none, 0, true, scale, false);
    try (AttentionScope scope = Attn4j.use(CPU)) {
      assertSame(scope.options(), CPU);
      assertClose(
          Attn4j.scaled_dot_product_attention(q, k, v, none, 0, true, scale, false), expected);
    }
  }

  private SdpaBackend served(AttentionOptions options) {
    return Attn4j.explain(q, k, v, null, options).stream()
        .filter(verdict -> verdict.outcome() == BackendVerdict.Outcome.SERVES)
        .findFirst()
        .orElseThrow()
        .backend();
  }

  @Test
  public void explainGivesEveryReason() {
    List<String> verdicts = Attn4j.explain(q, k, v).stream().map(BackendVerdict::toString).toList();
    assertEquals(verdicts.size(), 5);
    assertTrue(
        verdicts.contains("pytorch SERVES: torch.scaled_dot_product_attention"),
        verdicts.toString());
    assertTrue(verdicts.get(2).startsWith("exact REFUSES: query is on the CPU"), verdicts.get(2));
    Tensor dense = torch.randn(33, 21);
    try (AttentionScope scope = Attn4j.use(SdpaBackend.CPU)) {
      assertEquals(
          Attn4j.explain(q, k, v, dense, scope.options()).get(3).toString(),
          "cpu SERVES: fp32 reference");
      TensorOptional mask = new TensorOptional(dense);
      assertEquals(
          Attn4j.explain(q, k, v, mask, 0, true, null, false).get(3).toString(),
          "cpu REFUSES: attn_mask and is_causal are both set, which PyTorch refuses");
    }
  }

  @Test
  public void requireThrowsWithTheReasons() {
    AttentionOptions sage =
        AttentionOptions.builder().backend(SdpaBackend.SAGE).mode(BackendMode.REQUIRE).build();
    UnsupportedAttentionException refusal =
        expectThrows(
            UnsupportedAttentionException.class,
            () -> Attn4j.scaled_dot_product_attention(q, k, v, sage));
    assertTrue(refusal.getMessage().startsWith("no backend serves the request: sage: "));
    assertEquals(refusal.verdicts().size(), 1);
    AttentionOptions pytorch = sage.toBuilder().backend(SdpaBackend.PYTORCH).build();
    assertTrue(Attn4j.scaled_dot_product_attention(q, k, v, pytorch).equal(sdpa(q, k, v)));
  }

  @Test
  public void checkComparesAndKeepsGoodOutput() {
    Attn4j.checkFirst(2);
    Tensor expected = sdpa(q, k, v);
    for (int i = 0; i < 4; i++) {
      assertClose(Attn4j.scaled_dot_product_attention(q, k, v, CPU), expected);
    }
  }

  @Test
  public void comparisonSeesWhatIsNotFinite() {
    Tensor good = torch.ones(4);
    Tensor bad = good.div(torch.zeros(4));
    assertTrue(OutputCheck.Comparison.of(good, good).finite());
    assertFalse(OutputCheck.Comparison.of(bad, good).finite());
    assertTrue(OutputCheck.Comparison.of(bad, bad).finite(), "PyTorch's isn't either");
    assertEquals(OutputCheck.Comparison.of(good, good).toString(), "cosine 1.000000, L1 0.00000");
  }

  @Test
  public void thresholdsCoverWhatLiesInsideAllBounds() {
    Thresholds table =
        Thresholds.of(
            List.of(
                new Thresholds.Rule(90, 64, 4096, 128, SdpaBackend.PYTORCH),
                new Thresholds.Rule(90, 256, 1024, 1024, SdpaBackend.EXACT)));
    assertEquals(table.start(90, new Sizes(1, 1, 1, 4096, 77, 64)), SdpaBackend.PYTORCH);
    assertEquals(table.start(90, new Sizes(1, 1, 1, 512, 512, 128)), SdpaBackend.EXACT);
    assertEquals(table.start(90, new Sizes(1, 1, 1, 4096, 4096, 64)), SdpaBackend.AUTO);
    assertEquals(table.start(80, new Sizes(1, 1, 1, 16, 16, 64)), SdpaBackend.AUTO);
    Attn4j.setThresholds(table);
    assertSame(Attn4j.thresholds(), table);
    expectThrows(
        InvalidAttentionArgumentException.class,
        () -> new Thresholds.Rule(90, 64, 1, 1, SdpaBackend.SAGE));
  }

  @DataProvider
  public Object[][] badCalls() {
    Tensor other = torch.randn(2, 6, 21, 48);
    Tensor batchOfThree = torch.randn(3, 6, 21, 40);
    Tensor fourHeads = torch.randn(2, 4, 21, 40);
    Tensor half = torch.randn(2, 6, 21, 40).to(ScalarType.Half);
    Tensor vector = torch.randn(40);
    Tensor mask = torch.ones(33, 20);
    Tensor longMask = torch.ones(33, 21).to(ScalarType.Long);
    draw();
    return new Object[][] {
      {q, other, v, null, 0.0, false, false, "key has 48 channels and query 40"},
      {q, batchOfThree, batchOfThree, null, 0.0, false, false, "key has sizes [3, 6, 21, 40]"},
      {q, k, batchOfThree, null, 0.0, false, false, "value has sizes [3, 6, 21, 40]"},
      {q, fourHeads, fourHeads, null, 0.0, false, false, "key has sizes [2, 4, 21, 40]"},
      {q, fourHeads, fourHeads, null, 0.0, false, true, "query has 6 heads and key 4"},
      {q, half, half, null, 0.0, false, false, "key is Half and query is Float"},
      {vector, vector, vector, null, 0.0, false, false, "query has rank 1; 2 or more"},
      {q, k, v, mask, 0.0, false, false, "attn_mask has sizes [33, 20]; (..., 33, 21)"},
      {q, k, v, longMask, 0.0, false, false, "attn_mask is Long and query is Float"},
      {q, k, v, null, 1.5, false, false, "dropout_p is 1.5; a probability from 0 to 1"},
    };
  }

  /** PyTorch refuses all of these too, in words of its own. */
  @Test(dataProvider = "badCalls")
  public void badArgumentIsNamed(
      Tensor query,
      Tensor key,
      Tensor value,
      Tensor mask,
      double dropout,
      boolean causal,
      boolean grouped,
      String start) {
    TensorOptional optional = mask == null ? new TensorOptional() : new TensorOptional(mask);
    DoubleOptional scale = new DoubleOptional();
    expectThrows(
        RuntimeException.class,
        () ->
            torch.scaled_dot_product_attention(
                query, key, value, optional, dropout, causal, scale, grouped));
    InvalidAttentionArgumentException refusal =
        expectThrows(
            InvalidAttentionArgumentException.class,
            () ->
                Attn4j.scaled_dot_product_attention(
                    query, key, value, optional, dropout, causal, scale, grouped));
    assertTrue(refusal.getMessage().startsWith(start), refusal.getMessage());
  }

  @Test
  public void whatPyTorchOverlooksIsNamed() {
    Tensor shorter = v.narrow(2, 0, 20);
    assertEquals(
        expectThrows(
                InvalidAttentionArgumentException.class,
                () -> Attn4j.scaled_dot_product_attention(q, k, shorter))
            .getMessage(),
        "value has length 20 and key 21; they must agree");
    AttentionOptions causal =
        AttentionOptions.builder().causalMask(CausalMask.BOTTOM_RIGHT).build();
    Tensor mask = torch.ones(33, 21);
    assertEquals(
        expectThrows(
                InvalidAttentionArgumentException.class,
                () -> Attn4j.scaled_dot_product_attention(q, k, v, mask, causal))
            .getMessage(),
        "attn_mask is set and the causal mask is BOTTOM_RIGHT; put both into the mask");
  }

  @Test
  public void maskAndCausalTogether() {
    Tensor padding = torch.arange(new Scalar(21)).lt(new Scalar(15)).expand(33, 21);
    Tensor expected = sdpa(q, k, v, new TensorOptional(padding), true, false);
    for (AttentionOptions base : List.of(AttentionOptions.DEFAULTS, CPU)) {
      AttentionOptions causal = base.toBuilder().causalMask(CausalMask.TOP_LEFT).build();
      assertClose(Attn4j.scaled_dot_product_attention(q, k, v, padding, causal), expected);
    }
  }

  @Test
  public void nullsAndUndefinedTensorsAreNamed() {
    assertEquals(
        expectThrows(
                InvalidAttentionArgumentException.class,
                () -> Attn4j.scaled_dot_product_attention(null, k, v))
            .getMessage(),
        "query is null; a tensor is needed");
    assertEquals(
        expectThrows(
                InvalidAttentionArgumentException.class,
                () -> Attn4j.scaled_dot_product_attention(q, k, new Tensor()))
            .getMessage(),
        "value is an undefined tensor; one with elements is needed");
    expectThrows(
        InvalidAttentionArgumentException.class,
        () -> Attn4j.scaled_dot_product_attention(q, k, v, (AttentionOptions) null));
    assertEquals(
        expectThrows(
                InvalidAttentionArgumentException.class,
                () -> Attn4j.attention(q.select(0, 0), k.select(0, 0), v.select(0, 0), 7))
            .getMessage(),
        "query has 40 channels and heads is 7; the first must be a multiple of the second");
  }
}
