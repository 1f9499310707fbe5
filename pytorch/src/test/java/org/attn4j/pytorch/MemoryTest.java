package org.attn4j.pytorch;

import static org.testng.Assert.assertTrue;

import org.attn4j.AttentionOptions;
import org.attn4j.SdpaBackend;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/** 10,000 calls hold memory flat, with a PointerScope and without. */
public class MemoryTest {
  private static final int CALLS = 10_000;
  // What the allocator may keep: a leak of one output per call would be 160 MB.
  private static final long SLACK = 40L << 20;

  @DataProvider
  public Object[][] servers() {
    return new Object[][] {{SdpaBackend.PYTORCH}, {SdpaBackend.CPU}};
  }

  @Test(dataProvider = "servers")
  public void closedResultsLeaveNothing(SdpaBackend server) {
    try (Tensor q = torch.randn(1, 4, 16, 64);
        Tensor mask = torch.ones(16, 16).gt(torch.zeros(1))) {
      AttentionOptions options = AttentionOptions.builder().backend(server).build();
      run(q, mask, options, CALLS / 10);
      long pointers = Pointer.totalCount();
      long bytes = Pointer.physicalBytes();
      run(q, mask, options, CALLS);
      assertTrue(Pointer.totalCount() <= pointers + 10, "pointers: " + Pointer.totalCount());
      long grown = Pointer.physicalBytes() - bytes;
      assertTrue(grown < SLACK, "grown by " + grown);
    }
  }

  private static void run(Tensor q, Tensor mask, AttentionOptions options, int calls) {
    for (int i = 0; i < calls; i++) {
      Attn4j.scaled_dot_product_attention(q, q, q, i % 2 == 0 ? mask : null, options).close();
    }
  }

  @Test(dataProvider = "servers")
  @SuppressWarnings("try")
  public void scopeFreesResultsAndHoldsNothingElse(SdpaBackend server) {
    try (Tensor q = torch.randn(1, 4, 16, 64);
        Tensor packed = torch.randn(1, 16, 256);
        AttentionScope choice = Attn4j.use(server)) {
      long pointers = Pointer.totalCount();
      long bytes = Pointer.physicalBytes();
      for (int i = 0; i < CALLS / 100; i++) {
        try (PointerScope scope = new PointerScope()) {
          for (int j = 0; j < 50; j++) {
            Attn4j.scaled_dot_product_attention(q, q, q);
            Attn4j.attention(packed, packed, packed, 4);
          }
          // The results and nothing else: 100 tensors.
          assertTrue(Pointer.totalCount() <= pointers + 100 + 10, "" + Pointer.totalCount());
        }
      }
      assertTrue(Pointer.totalCount() <= pointers + 10, "pointers: " + Pointer.totalCount());
      long grown = Pointer.physicalBytes() - bytes;
      assertTrue(grown < SLACK, "grown by " + grown);
    }
  }

  @Test
  public void resultOfAFallbackWithViewsOutlivesItsScope() {
    try (Tensor packed = torch.randn(1, 16, 256);
        Tensor result = Attn4j.attention(packed, packed, packed, 4)) {
      assertTrue(result.isfinite().all().item_bool());
    }
    Tensor kept;
    try (Tensor packed = torch.randn(1, 16, 256);
        PointerScope scope = new PointerScope()) {
      kept = Attn4j.attention(packed, packed, packed, 4);
      kept.retainReference();
      assertTrue(scope.forClasses() == null);
    }
    assertTrue(kept.isfinite().all().item_bool());
    kept.close();
    assertTrue(kept.isNull());
  }
}
