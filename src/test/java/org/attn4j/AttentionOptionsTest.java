package org.attn4j;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertNotEquals;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import org.testng.annotations.Test;

/** The options: defaults, copies, refusals. */
public class AttentionOptionsTest {
  @Test
  public void defaultsAreTheDocumentedOnes() {
    AttentionOptions options = AttentionOptions.DEFAULTS;
    assertEquals(options.layout(), TensorLayout.HND);
    assertEquals(options.causalMask(), CausalMask.NONE);
    assertFalse(options.hasSmScale());
    assertEquals(options.quantGranularity(), QuantGranularity.PER_THREAD);
    assertEquals(options.pvAccumulator(), PvAccumulator.DEFAULT);
    assertTrue(options.smoothK());
    assertEquals(options.sageKernel(), SageKernel.AUTO);
    assertEquals(options.sparsity(), SparsityOptions.DEFAULTS);
    assertEquals(options.sparsityRule(), SparsityRule.LEARN);
    assertEquals(options.callSite(), "");
    assertEquals(options.backend(), SdpaBackend.AUTO);
    assertEquals(options.mode(), BackendMode.PREFER);
  }

  @Test
  public void builderKeepsEveryField() {
    AttentionOptions options =
        AttentionOptions.builder()
            .layout(TensorLayout.NHD)
            .causalMask(CausalMask.BOTTOM_RIGHT)
            .smScale(-0.5f)
            .quantGranularity(QuantGranularity.PER_WARP)
            .pvAccumulator(PvAccumulator.FP32)
            .smoothK(false)
            .sageKernel(SageKernel.QK_INT8_PV_FP16)
            .sparsity(SparsityOptions.byTopk(0.5f))
            .sparsityRule(SparsityRule.FROZEN)
            .callSite("blocks.0")
            .backend(SdpaBackend.SAGE)
            .mode(BackendMode.REQUIRE)
            .build();
    assertEquals(options.toBuilder().build(), options);
    assertEquals(options.toBuilder().build().hashCode(), options.hashCode());
    assertNotEquals(options, AttentionOptions.DEFAULTS);
    assertEquals(
        options.toString(),
        "AttentionOptions[layout=NHD, causalMask=BOTTOM_RIGHT, smScale=-0.5,"
            + " quantGranularity=PER_WARP, pvAccumulator=FP32, smoothK=false,"
            + " sageKernel=QK_INT8_PV_FP16, sparsity="
            + SparsityOptions.byTopk(0.5f)
            + ", sparsityRule=FROZEN, callSite=blocks.0, backend=SAGE, mode=REQUIRE]");
  }

  @Test
  public void badValues() {
    assertEquals(
        message(() -> AttentionOptions.builder().layout(null)),
        "layout is null; HND or NHD is needed");
    assertEquals(
        message(() -> AttentionOptions.builder().smScale(Float.NaN)),
        "smScale is NaN; a finite number is accepted");
    assertEquals(
        message(() -> AttentionOptions.builder().smScale(Float.POSITIVE_INFINITY)),
        "smScale is Infinity; a finite number is accepted");
    assertEquals(
        message(
            () ->
                AttentionOptions.builder().backend(SdpaBackend.SAGE).mode(BackendMode.OFF).build()),
        "mode is OFF, which switches the quantised backends off, and backend is SAGE; with OFF one"
            + " of AUTO, EXACT, PYTORCH, CPU is accepted");
  }

  private static String message(org.testng.Assert.ThrowingRunnable action) {
    return expectThrows(InvalidAttentionArgumentException.class, action).getMessage();
  }
}
