package org.attn4j.pytorch;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Iterator;
import java.util.Map;
import java.util.Optional;
import java.util.function.Supplier;
import org.attn4j.AttentionOptions;
import org.attn4j.BackendMode;
import org.attn4j.InvalidAttentionArgumentException;
import org.attn4j.SdpaBackend;
import org.attn4j.SparsityOptions;
import org.attn4j.torch.HookCounts;
import org.attn4j.torch.HookOutcome;
import org.attn4j.torch.TorchHook;
import org.bytedeco.pytorch.AutoGradMode;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.Assert;
import org.testng.SkipException;
import org.testng.annotations.AfterClass;
import org.testng.annotations.AfterMethod;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * The rules exist twice, in Java for the drop-in and in C++ for the hook: one table of cases holds
 * both. And what is Java's alone, scopes and settings, reaches the hook.
 */
public class SameRulesTest {
  @BeforeClass
  public void install() {
    if (!Files.exists(Path.of(System.getProperty("org.attn4j.torch.cpuLibrary", "")))) {
      throw new SkipException("no native library of attn4j-torch: this machine has no g++");
    }
    torch.manual_seed(18);
    Assert.assertEquals(Attn4j.install(), Optional.empty());
    TorchHook.setEnabled(true);
  }

  @AfterMethod
  public void reset() {
    Attn4j.setDefaults(AttentionOptions.DEFAULTS);
  }

  /** The other tests of this module mean PyTorch's own attention when they call it. */
  @AfterClass(alwaysRun = true)
  public void switchOff() {
    if (TorchHook.isInstalled()) {
      TorchHook.setEnabled(false);
    }
  }

  @DataProvider
  public Iterator<Object[]> cases() throws IOException {
    return HookCase.all().stream().map(c -> new Object[] {c}).iterator();
  }

  @Test(dataProvider = "cases")
  @SuppressWarnings("try") // the guard is there to be closed
  public void theHookFollowsTheTable(HookCase c) {
    try (AutoGradMode guard = new AutoGradMode(c.has("grad"));
        AttentionScope scope = c.has("exact") ? Attn4j.use(SdpaBackend.EXACT) : null) {
      SdpaCall call = c.call();
      HookCounts counts = counting(() -> tolerant(call));
      Assert.assertEquals(counts.byOutcome(), Map.of(HookOutcome.valueOf(c.hook()), 1L));
      if (c.dropIn().equals("served")) {
        Sizes sizes = Geometry.of(call).sizes();
        String expected =
            String.format(
                "(batch %d, heads %d and %d, %d queries, %d keys, %d channels)",
                sizes.batch(),
                sizes.heads(),
                sizes.headsKv(),
                sizes.queries(),
                sizes.keys(),
                sizes.headDim());
        Assert.assertTrue(TorchHook.explainLast().endsWith(expected), TorchHook.explainLast());
      }
    }
  }

  /** PyTorch's own part may throw: that isn't what is compared here. */
  private static Tensor tolerant(SdpaCall call) {
    try {
      return HookCase.run(call);
    } catch (RuntimeException e) {
      return null;
    }
  }

  @Test(dataProvider = "cases")
  @SuppressWarnings("try") // the guard is there to be closed
  public void theDropInFollowsTheTable(HookCase c) {
    try (AutoGradMode guard = new AutoGradMode(c.has("grad"))) {
      String found = dropIn(c.call(), c.has("exact"));
      Assert.assertTrue(found.contains(c.dropIn()), found);
    }
  }

  private static String dropIn(SdpaCall call, boolean exact) {
    try {
      CallCheck.check(call);
    } catch (InvalidAttentionArgumentException e) {
      return "throws " + e.getMessage();
    }
    String obstacle = Obstacles.find(call, SdpaBackend.AUTO, true);
    if (obstacle != null || !call.hasMask()) {
      return obstacle == null ? "served" : obstacle;
    }
    try (MaskFinding mask = Masks.find(call, false, exact, true)) {
      return mask.obstacle() == null ? "served" : mask.obstacle();
    }
  }

  private static HookCounts counting(Supplier<Tensor> call) {
    HookCounts before = TorchHook.counts();
    call.get();
    return TorchHook.counts().since(before);
  }

  private static Tensor sdpa(long keys) {
    Tensor q = torch.randn(1, 1, 2, 16).to(ScalarType.Half);
    Tensor k = torch.randn(1, 1, keys, 16).to(ScalarType.Half);
    return torch.scaled_dot_product_attention(q, k, k);
  }

  private static void assertOutcome(HookOutcome outcome, long keys) {
    Assert.assertEquals(counting(() -> sdpa(keys)).byOutcome(), Map.of(outcome, 1L));
  }

  @Test
  public void scopesReachTheHookAndNest() {
    assertOutcome(HookOutcome.SAGE, 8);
    try (AttentionScope outer = Attn4j.use(SdpaBackend.PYTORCH)) {
      Assert.assertNotNull(outer);
      assertOutcome(HookOutcome.OPTIONS, 8);
      try (AttentionScope inner = Attn4j.use(SdpaBackend.EXACT)) {
        Assert.assertNotNull(inner);
        assertOutcome(HookOutcome.EXACT, 8);
      }
      assertOutcome(HookOutcome.OPTIONS, 8);
    }
    assertOutcome(HookOutcome.SAGE, 8);
  }

  @Test
  public void aScopeIsOfOneThread() throws InterruptedException {
    try (AttentionScope scope = Attn4j.use(SdpaBackend.PYTORCH)) {
      Assert.assertNotNull(scope);
      Throwable[] failure = new Throwable[1];
      Thread other = new Thread(() -> assertOutcome(HookOutcome.SAGE, 8));
      other.setUncaughtExceptionHandler((thread, e) -> failure[0] = e);
      other.start();
      other.join();
      Assert.assertNull(failure[0]);
    }
  }

  @Test
  public void defaultsAndModesReachTheHook() {
    Attn4j.setDefaults(AttentionOptions.builder().mode(BackendMode.OFF).build());
    assertOutcome(HookOutcome.EXACT, 8);
    Attn4j.setDefaults(AttentionOptions.builder().sparsity(SparsityOptions.OFF).build());
    assertOutcome(HookOutcome.SAGE, 8192);
    Attn4j.setDefaults(AttentionOptions.builder().backend(SdpaBackend.SPARGE).build());
    assertOutcome(HookOutcome.SPARGE, 8);
    Attn4j.setDefaults(AttentionOptions.DEFAULTS);
    assertOutcome(HookOutcome.SPARGE, 8192);
  }

  @Test
  public void aRequiredBackendThatCantServeThrows() {
    AttentionOptions options =
        AttentionOptions.builder().backend(SdpaBackend.SAGE).mode(BackendMode.REQUIRE).build();
    Tensor x = torch.randn(1, 1, 2, 16); // Float
    try (AttentionScope scope = Attn4j.use(options)) {
      Assert.assertNotNull(scope);
      RuntimeException e =
          Assert.expectThrows(
              RuntimeException.class, () -> torch.scaled_dot_product_attention(x, x, x));
      Assert.assertTrue(e.getMessage().contains("not all Half"), e.getMessage());
      assertOutcome(HookOutcome.SAGE, 8);
    }
  }

  /** The drop-in leaves CPU tensors to PyTorch, and the hook leaves the drop-in alone. */
  @Test
  public void theDropInsOwnFallbackPasses() {
    Tensor x = torch.randn(1, 1, 2, 16).to(ScalarType.Half);
    HookCounts counts = counting(() -> Attn4j.scaled_dot_product_attention(x, x, x));
    Assert.assertEquals(counts.byOutcome(), Map.of(HookOutcome.PASSED, 1L));
    assertOutcome(HookOutcome.SAGE, 8);
  }
}
