package org.attn4j.torch;

import static org.attn4j.torch.Hooked.BF16;
import static org.attn4j.torch.Hooked.NO_MASK;
import static org.attn4j.torch.Hooked.NO_SCALE;
import static org.attn4j.torch.Hooked.assertAll;
import static org.attn4j.torch.Hooked.assertClose;
import static org.attn4j.torch.Hooked.byPyTorch;
import static org.attn4j.torch.Hooked.counting;
import static org.attn4j.torch.Hooked.random;
import static org.attn4j.torch.Hooked.sdpa;

import java.util.List;
import org.attn4j.AttentionOptions;
import org.attn4j.SdpaBackend;
import org.attn4j.SparsityRule;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.InferenceMode;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.DeviceType;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.Assert;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

/** torch.scaled_dot_product_attention of bytedeco's PyTorch, with the hook. */
public class HookServesTest {
  @BeforeClass
  public void install() {
    Hooked.install();
  }

  @Test
  public void aSecondInstallDoesNothing() {
    Assert.assertTrue(TorchHook.install().isEmpty());
    assertAll(counting(this::smallCall), HookOutcome.SAGE, 1);
  }

  private void smallCall() {
    Tensor x = random(BF16, 1, 2, 8, 16);
    sdpa(x, x, x);
  }

  @Test
  public void bothTypesAreServedWithAndWithoutACausalMask() {
    for (ScalarType type : new ScalarType[] {ScalarType.Half, BF16}) {
      Tensor q = random(type, 2, 4, 33, 64);
      Tensor k = random(type, 2, 4, 47, 64);
      Tensor v = random(type, 2, 4, 47, 64);
      for (boolean causal : new boolean[] {false, true}) {
        Tensor expected = byPyTorch(() -> sdpa(q, k, v, causal));
        assertAll(
            counting(() -> assertClose(sdpa(q, k, v, causal), expected, v)), HookOutcome.SAGE, 1);
      }
    }
  }

  @Test
  public void switchedOffItIsPyTorchBitForBit() {
    Tensor q = random(BF16, 1, 2, 20, 64);
    Tensor expected = byPyTorch(() -> sdpa(q, q, q));
    Tensor math = byPyTorch(() -> sdpa(q, q, q));
    Assert.assertTrue(torch.equal(expected, math));
    assertAll(counting(() -> byPyTorch(() -> sdpa(q, q, q))), HookOutcome.SWITCHED_OFF, 1);
  }

  @Test
  public void theResultLiesInMemoryAsQueryDoes() {
    Tensor k = random(BF16, 2, 4, 47, 64);
    Tensor q = random(BF16, 2, 33, 4, 64).transpose(1, 2);
    Tensor expected = byPyTorch(() -> sdpa(q, k, k));
    Tensor actual = sdpa(q, k, k);
    Assert.assertEquals(TorchHook.explainLast().substring(0, 13), "SageAttention");
    assertClose(actual, expected, k);
    Assert.assertEquals(actual.stride(1), 64);
    Assert.assertEquals(actual.stride(2), 4 * 64);
    Assert.assertEquals(actual.stride(0), 33 * 4 * 64);
  }

  @Test
  public void everyOrderOfQuerysDimensionsIsDense() {
    Tensor k = random(BF16, 3, 4, 7, 16);
    int[][] orders = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (int[] order : orders) {
      long[] sizes = {3, 4, 5};
      long[] inMemory = {sizes[order[0]], sizes[order[1]], sizes[order[2]], 16};
      long[] back = new long[4];
      for (int i = 0; i < 3; i++) {
        back[order[i]] = i;
      }
      back[3] = 3;
      Tensor q = random(BF16, inMemory).permute(back);
      Tensor actual = sdpa(q, k, k);
      assertClose(actual, byPyTorch(() -> sdpa(q, k, k)), k);
      for (int i = 0; i < 4; i++) {
        Assert.assertEquals(actual.stride(i), q.stride(i));
      }
    }
  }

  @Test
  public void aScaleCounts() {
    Tensor q = random(BF16, 1, 2, 20, 64);
    try (var scale = new org.bytedeco.pytorch.DoubleOptional(0.25)) {
      java.util.function.Supplier<Tensor> call =
          () -> torch.scaled_dot_product_attention(q, q, q, NO_MASK, 0, false, scale, false);
      Tensor expected = byPyTorch(call);
      assertAll(counting(() -> assertClose(call.get(), expected, q)), HookOutcome.SAGE, 1);
    }
  }

  /** What lies behind hidden keys has no part in the result. */
  @Test
  public void masksOfKeysAreServed() {
    Tensor q = random(BF16, 2, 4, 33, 64);
    Tensor k = random(BF16, 2, 4, 47, 64);
    Tensor shown = torch.rand(2, 1, 1, 47).gt(new Scalar(0.4));
    Tensor hidden = shown.logical_not().reshape(2, 1, 47, 1);
    Tensor spoilt = k.masked_fill(hidden, new Scalar(Double.NaN));
    for (Tensor mask : List.of(shown, shown.expand(2, 4, 33, 47))) {
      Tensor expected = byPyTorch(() -> masked(q, k, mask));
      assertAll(
          counting(() -> assertClose(masked(q, spoilt, mask), expected, k)), HookOutcome.SAGE, 1);
    }
  }

  @Test
  public void whereTheExactKernelIsChosenAllMasksAreServed() {
    Tensor q = random(BF16, 2, 4, 33, 64);
    Tensor k = random(BF16, 2, 4, 47, 64);
    Tensor dense = torch.rand(2, 4, 33, 47).gt(new Scalar(0.4));
    AttentionOptions exact = AttentionOptions.builder().backend(SdpaBackend.EXACT).build();
    for (Tensor mask : List.of(dense, random(BF16, 33, 47), random(BF16, 2, 1, 33, 47))) {
      Tensor expected = byPyTorch(() -> masked(q, k, mask));
      TorchHook.setDefaults(exact, List.of());
      try {
        assertAll(
            counting(() -> assertClose(masked(q, k, mask), expected, k)), HookOutcome.EXACT, 1);
      } finally {
        TorchHook.setDefaults(AttentionOptions.DEFAULTS, List.of());
      }
    }
  }

  private static Tensor masked(Tensor q, Tensor k, Tensor mask) {
    TensorOptional optional = new TensorOptional(mask);
    return torch.scaled_dot_product_attention(q, k, k, optional, 0, false, NO_SCALE, false);
  }

  @Test
  public void groupedAndRepeatedHeadsAreServed() {
    Tensor q = random(BF16, 2, 4, 33, 64);
    Tensor k = random(BF16, 2, 2, 47, 64);
    java.util.function.Supplier<Tensor> grouped =
        () -> torch.scaled_dot_product_attention(q, k, k, NO_MASK, 0, false, NO_SCALE, true);
    assertClose(grouped.get(), byPyTorch(grouped), k);
    Tensor wide = k.narrow(1, 0, 1).expand(2, 4, 47, 64);
    assertAll(
        counting(() -> assertClose(sdpa(q, wide, wide), byPyTorch(() -> sdpa(q, wide, wide)), k)),
        HookOutcome.SAGE,
        HookOutcome.SWITCHED_OFF);
  }

  private static void assertAll(HookCounts counts, HookOutcome first, HookOutcome second) {
    Assert.assertEquals(
        counts.byOutcome(), java.util.Map.of(first, 1L, second, 1L), counts.toString());
  }

  private static void assertAll(HookCounts counts, HookOutcome outcome, long times) {
    Hooked.assertAll(counts, outcome, times);
  }

  @Test
  @SuppressWarnings("try") // the guard is there to be closed
  public void inferenceModeIsServed() {
    Tensor outside = random(BF16, 2, 4, 33, 64);
    try (InferenceMode guard = new InferenceMode(true)) {
      Assert.assertTrue(InferenceMode.is_enabled());
      Tensor inside = random(BF16, 2, 4, 33, 64);
      assertAll(
          counting(
              () -> {
                Assert.assertTrue(sdpa(outside, outside, outside).is_inference());
                Assert.assertTrue(sdpa(inside, outside, outside).is_inference());
              }),
          HookOutcome.SAGE,
          2);
    }
  }

  @Test
  public void autocastHasCastBefore() {
    Tensor x = random(ScalarType.Float, 1, 2, 20, 64);
    torch.set_autocast_enabled(DeviceType.CPU, true);
    torch.set_autocast_dtype(DeviceType.CPU, BF16);
    try {
      assertAll(
          counting(() -> Assert.assertEquals(sdpa(x, x, x).scalar_type().value, BF16.value)),
          HookOutcome.SAGE,
          1);
    } finally {
      torch.set_autocast_enabled(DeviceType.CPU, false);
      torch.clear_cache();
    }
  }

  @Test
  @SuppressWarnings("try") // the scope is there to be closed
  public void theChainIsWalked() {
    try (PointerScope scope = new PointerScope()) {
      Tensor wide = random(BF16, 1, 1, 4, 160);
      assertAll(counting(() -> sdpa(wide, wide, wide)), HookOutcome.EXACT, 1);
      Tensor tooWide = random(BF16, 1, 1, 4, 264);
      assertAll(counting(() -> sdpa(tooWide, tooWide, tooWide)), HookOutcome.KERNELS, 1);
      Assert.assertTrue(TorchHook.explainLast().contains("more channels"));
      Tensor q = random(BF16, 1, 1, 2, 16);
      Tensor below = random(BF16, 1, 1, 8191, 16);
      assertAll(counting(() -> sdpa(q, below, below)), HookOutcome.SAGE, 1);
      Tensor from = random(BF16, 1, 1, 8192, 16);
      assertAll(counting(() -> sdpa(q, from, from)), HookOutcome.SPARGE, 1);
    }
  }

  /** The stand-in's call sites are unknown for good: frozen, that means dense. */
  @Test
  @SuppressWarnings("try") // the scope is there to be closed
  public void callSitesDecide() {
    try (PointerScope scope = new PointerScope()) {
      Tensor q = random(BF16, 1, 1, 2, 16);
      Tensor from = random(BF16, 1, 1, 8192, 16);
      AttentionOptions frozen =
          AttentionOptions.builder().sparsityRule(SparsityRule.FROZEN).callSite("a layer").build();
      TorchHook.setDefaults(frozen, List.of());
      assertAll(counting(() -> sdpa(q, from, from)), HookOutcome.SAGE, 1);
      Assert.assertTrue(
          TorchHook.explainLast().contains("fp8_standin; what calls like this one leave out"),
          TorchHook.explainLast());
      AttentionOptions always =
          AttentionOptions.builder().backend(SdpaBackend.SPARGE).callSite("a layer").build();
      TorchHook.setDefaults(always, List.of());
      assertAll(counting(() -> sdpa(q, q, q)), HookOutcome.SPARGE, 1); // by name: no site is asked
    } finally {
      TorchHook.setDefaults(AttentionOptions.DEFAULTS, List.of());
    }
  }
}
