package org.attn4j.backend;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertNull;
import static org.testng.Assert.assertTrue;

import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.DType;
import org.attn4j.DeviceMemory;
import org.attn4j.DeviceTensor;
import org.attn4j.SparsityOptions;
import org.attn4j.TensorShape;
import org.attn4j.runtime.NativeLibrary;
import org.testng.SkipException;
import org.testng.annotations.Test;

/** When the chain takes SpargeAttn by itself, and what the backend answers without a GPU. */
public class SpargeRuleTest {
  private static AttentionRequest request(long keys, SparsityOptions sparsity) {
    return request(128, keys, sparsity);
  }

  private static AttentionRequest request(long queries, long keys) {
    return request(queries, keys, SparsityOptions.DEFAULTS);
  }

  private static AttentionRequest request(long queries, long keys, SparsityOptions sparsity) {
    return AttentionRequest.builder()
        .q(tensor(1, queries))
        .k(tensor(2, keys))
        .v(tensor(3, keys))
        .o(tensor(4, queries))
        .options(AttentionOptions.builder().sparsity(sparsity).build())
        .build();
  }

  private static DeviceTensor tensor(long place, long rows) {
    DeviceMemory memory = DeviceMemory.wrap(0, place << 32, 1L << 32); // nothing reads it
    return DeviceTensor.view(memory, 0, DType.FLOAT16, TensorShape.contiguous(1, 2, rows, 64));
  }

  @Test
  public void shortSequencesAreLeftToOthers() {
    assertEquals(
        SpargeRule.refusal(request(4095, SparsityOptions.DEFAULTS)),
        "sparsity is tried from 4096 keys on, or if the backend is chosen by name");
  }

  @Test
  public void longOnesDependOnTheDenseKernel() {
    requireLibrary();
    // 128 queries: dense attention is an exact kernel, however many keys there are.
    AttentionRequest few = request(128, 8192);
    NativePlan dense = dense(few);
    assertTrue(dense.neverSparse(), dense.kernel());
    assertEquals(
        SpargeRule.refusal(few),
        "the dense "
            + dense.description()
            + " is faster here; choose the backend by name to use it");
    AttentionRequest many = request(32768, 32768);
    assertNull(SpargeRule.refusal(many));
    if (dense(many).kernel().startsWith("mma_int8_f16/")) { // a library for other GPUs
      assertEquals(dense(many).sparseFrom(), 4096);
      return;
    }
    assertTrue(dense(many).kernel().startsWith("wgmma_int8_fp8/"), dense(many).kernel());
    assertEquals(dense(many).sparseFrom(), 8192);
    AttentionRequest shorter = request(65536, 8191);
    assertEquals(
        SpargeRule.refusal(shorter),
        "beside the dense "
            + dense(shorter).description()
            + " sparsity is tried from 8192 keys on, or if the backend is chosen by name");
  }

  private static NativePlan dense(AttentionRequest request) {
    return NativeAttention.supports(NativeKernel.SAGE, request).plan();
  }

  @Test
  public void switchedOffMeansOff() {
    SpargeBackend backend = new SpargeBackend(Settings.of("sparge", null));
    assertEquals(
        backend.refusal(request(8192, SparsityOptions.OFF)), "the options switch sparsity off");
  }

  @Test
  public void chosenByNameServesWhatTheRuleRefuses() {
    requireLibrary();
    AttentionRequest request = request(100, SparsityOptions.DEFAULTS);
    Support kernel = NativeAttention.supports(NativeKernel.SPAS_MEANSIM, request);
    SpargeBackend backend = new SpargeBackend(Settings.of("sparge", null));
    assertNull(backend.refusal(request));
    if (kernel.supported()) {
      assertNull(backend.misfit(request, kernel.plan()));
    }
  }

  private static void requireLibrary() {
    NativeLibrary.loadFailure()
        .ifPresent(
            failure -> {
              throw new SkipException("no native library: " + failure);
            });
  }
}
