package org.attn4j.torch;

import static org.attn4j.torch.Hooked.BF16;
import static org.attn4j.torch.Hooked.byPyTorch;
import static org.attn4j.torch.Hooked.counting;
import static org.attn4j.torch.Hooked.random;
import static org.attn4j.torch.Hooked.sdpa;

import java.util.Map;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.testng.Assert;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

/** Under torch.func's transforms, tensors are wrappers without memory. */
public class FunctorchTest {
  private static final int VMAP = 1;
  private static final int GRAD = 2;

  private static native long attend(long tensor, int transform, long size);

  private static final class Address extends Pointer {
    Address(long address) {
      this.address = address;
    }
  }

  @BeforeClass
  public void load() {
    Hooked.install();
    System.load(Hooked.standIn().resolveSibling("libforeign.so").toString());
  }

  private static Tensor attend(Tensor x, int transform) {
    long handle = attend(x.address(), transform, x.size(0));
    Assert.assertNotEquals(handle, 0L);
    return new Tensor(new Address(handle));
  }

  @Test
  public void gradLeavesTheCallToPyTorch() {
    Tensor x = random(BF16, 2, 4, 33, 64);
    Tensor expected = byPyTorch(() -> sdpa(x, x, x));
    Tensor[] result = new Tensor[1];
    HookCounts counts = counting(() -> result[0] = attend(x, GRAD));
    Assert.assertEquals(counts.byOutcome(), Map.of(HookOutcome.TENSOR, 1L));
    Assert.assertTrue(torch.equal(result[0], expected));
  }

  /**
   * PyTorch takes the operator apart before the hook's slots, and serves no batched tensor by us.
   */
  @Test
  public void vmapDoesntComeBy() {
    Tensor x = random(BF16, 3, 2, 4, 33, 64);
    HookCounts counts = counting(() -> Assert.assertEquals(attend(x, VMAP).dim(), 4));
    Assert.assertEquals(counts.served(), 0, counts.toString());
    Tensor after = random(BF16, 2, 4, 33, 64);
    Assert.assertEquals(counting(() -> sdpa(after, after, after)).served(), 1);
  }
}
