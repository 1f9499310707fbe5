package org.attn4j.torch;

import static org.attn4j.torch.Hooked.BF16;
import static org.attn4j.torch.Hooked.NO_MASK;
import static org.attn4j.torch.Hooked.NO_SCALE;
import static org.attn4j.torch.Hooked.assertAll;
import static org.attn4j.torch.Hooked.byPyTorch;
import static org.attn4j.torch.Hooked.counting;
import static org.attn4j.torch.Hooked.forward;
import static org.attn4j.torch.Hooked.random;
import static org.attn4j.torch.Hooked.script;
import static org.attn4j.torch.Hooked.sdpa;
import static org.attn4j.torch.Hooked.withoutGrad;

import java.util.function.Supplier;
import org.bytedeco.pytorch.JitModule;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.Assert;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

/** What is left to PyTorch comes out as without the hook: results, exceptions, gradients. */
public class HookDeclinesTest {
  @BeforeClass
  public void install() {
    Hooked.install();
  }

  /** The same call with and without the hook, bit for bit, and why it was declined. */
  private static void assertLeft(HookOutcome why, Supplier<Tensor> call) {
    Tensor expected = byPyTorch(call);
    assertAll(
        counting(() -> Assert.assertTrue(torch.equal(call.get(), expected), why.toString())),
        why,
        1);
  }

  @Test
  public void otherTypes() {
    for (ScalarType type : new ScalarType[] {ScalarType.Float, ScalarType.Double}) {
      Tensor x = random(type, 1, 2, 20, 64);
      assertLeft(HookOutcome.TYPE, () -> sdpa(x, x, x));
    }
  }

  @Test
  public void masks() {
    Tensor x = random(BF16, 1, 2, 20, 64);
    Tensor bool = torch.ones(20, 20).to(ScalarType.Bool).tril();
    Tensor added = random(BF16, 20, 20);
    for (Tensor mask : new Tensor[] {bool, added}) {
      TensorOptional optional = new TensorOptional(mask);
      assertLeft(
          HookOutcome.MASK,
          () -> torch.scaled_dot_product_attention(x, x, x, optional, 0, false, NO_SCALE, false));
    }
  }

  @Test
  public void dropout() {
    Tensor x = random(BF16, 1, 2, 20, 64);
    assertLeft(
        HookOutcome.DROPOUT,
        () -> {
          torch.manual_seed(5);
          return torch.scaled_dot_product_attention(x, x, x, NO_MASK, 0.5, false, NO_SCALE, false);
        });
  }

  @Test
  public void otherRanks() {
    Tensor two = random(BF16, 20, 64);
    assertLeft(HookOutcome.RANK, () -> sdpa(two, two, two));
    Tensor five = random(BF16, 2, 1, 2, 20, 64);
    assertLeft(HookOutcome.RANK, () -> sdpa(five, five, five));
  }

  @Test
  public void otherValueChannelsAndEmptyTensors() {
    Tensor x = random(BF16, 1, 2, 20, 64);
    Tensor v = random(BF16, 1, 2, 20, 32);
    assertLeft(HookOutcome.SHAPE, () -> sdpa(x, x, v));
    Tensor none = x.narrow(2, 0, 0);
    assertLeft(HookOutcome.SHAPE, () -> sdpa(none, x, x));
  }

  @Test
  public void channelsApart() {
    Tensor x = random(BF16, 1, 2, 64, 20).transpose(2, 3);
    Assert.assertEquals(x.stride(3), 20);
    assertLeft(HookOutcome.STRIDES, () -> sdpa(x, x, x));
  }

  @Test
  public void lazilyNegatedAndZeroTensors() {
    Tensor x = random(BF16, 1, 2, 20, 64);
    Tensor negated = x._neg_view();
    Assert.assertTrue(negated.is_neg());
    assertLeft(HookOutcome.TENSOR, () -> sdpa(negated, x, x));
    Tensor zero =
        forward(
            script(
                "def forward(self, x):\n    return torch._efficientzerotensor(x.size(),"
                    + " dtype=x.dtype)\n"),
            x);
    Assert.assertTrue(zero._is_zerotensor());
    // PyTorch 2.10 itself puts out NaN here, so there is no result to compare.
    assertAll(counting(() -> sdpa(x, x, zero)), HookOutcome.TENSOR, 1);
  }

  /** They have slots of their own in the dispatcher, and the hook is in none of them. */
  @Test
  public void nestedTensorsDontComeBy() {
    JitModule nested =
        script(
            "def forward(self, q, k):\n"
                + "    n = torch._nested_tensor_from_tensor_list([q, k], None, None, None, None)\n"
                + "    o = torch.scaled_dot_product_attention(n, n, n)\n"
                + "    return torch._nested_tensor_size(o)\n");
    Tensor q = random(BF16, 2, 5, 16);
    Tensor k = random(BF16, 2, 7, 16);
    Assert.assertEquals(counting(() -> forward(nested, q, k)).served(), 0);
    assertAll(counting(() -> sdpa(q, q, q)), HookOutcome.SAGE, 1);
  }

  @Test
  public void sparseTensorsGiveTheSameException() {
    Tensor x = random(BF16, 1, 2, 20, 64);
    Tensor[] t = {x.to_sparse(), x, x};
    String expected = byPyTorch(() -> failure(t));
    assertAll(counting(() -> Assert.assertEquals(failure(t), expected)), HookOutcome.TENSOR, 1);
    Assert.assertNotEquals(expected, "none");
  }

  @Test
  public void conjugatedTensorsGiveTheSameException() {
    Tensor x = torch.view_as_complex(torch.randn(1, 2, 20, 64, 2)).conj();
    Assert.assertTrue(x.is_conj());
    Tensor[] t = {x, x, x};
    String expected = byPyTorch(() -> failure(t));
    assertAll(counting(() -> Assert.assertEquals(failure(t), expected)), HookOutcome.TYPE, 1);
    Assert.assertNotEquals(expected, "none");
  }

  @Test
  public void wrongShapesGiveTheSameException() {
    Tensor q = random(BF16, 2, 4, 33, 64);
    Tensor[][] wrong = {
      {q, random(BF16, 2, 4, 47, 32), random(BF16, 2, 4, 47, 64)},
      {q, random(BF16, 3, 4, 47, 64), random(BF16, 3, 4, 47, 64)},
      {q, random(ScalarType.Half, 2, 4, 47, 64), random(BF16, 2, 4, 47, 64)},
      {random(BF16, 64), random(BF16, 64), random(BF16, 64)},
    };
    for (int i = 0; i < wrong.length; i++) {
      Tensor[] t = wrong[i];
      String expected = byPyTorch(() -> failure(t));
      Assert.assertEquals(failure(t), expected);
      Assert.assertNotEquals(expected, "none", "case " + i);
    }
  }

  private static String failure(Tensor[] t) {
    try {
      sdpa(t[0], t[1], t[2]);
      return "none";
    } catch (RuntimeException e) {
      return e.getClass() + " " + firstLine(e);
    }
  }

  /** What follows the first line are the frames of C++, among which is ours. */
  private static String firstLine(RuntimeException e) {
    return e.getMessage().lines().findFirst().orElseThrow();
  }

  @Test
  public void gradientsArePyTorchs() {
    Tensor k = random(BF16, 1, 2, 20, 64);
    Tensor q = random(BF16, 1, 2, 20, 64).requires_grad_(true);
    Tensor expected = byPyTorch(() -> gradient(q, k));
    assertAll(
        counting(() -> Assert.assertTrue(torch.equal(gradient(q, k), expected))),
        HookOutcome.GRADIENT,
        1);
    assertAll(counting(() -> sdpa(k, k, k)), HookOutcome.SAGE, 1); // nothing requires it
    assertAll(counting(() -> withoutGrad(() -> sdpa(q, k, k))), HookOutcome.SAGE, 1);
  }

  private static Tensor gradient(Tensor q, Tensor k) {
    if (q.grad().defined()) {
      q.mutable_grad().zero_();
    }
    sdpa(q, k, k).to(ScalarType.Float).sum().backward();
    return q.grad().clone();
  }

  @Test
  public void dualNumbersAreNotServed() {
    Tensor x = random(BF16, 1, 2, 20, 64);
    JitModule makeDual =
        script("def forward(self, x):\n    return torch._make_dual(x, torch.ones_like(x), 0)\n");
    long level = torch.enter_dual_level();
    try {
      Assert.assertEquals(level, 0);
      Tensor dual = forward(makeDual, x);
      assertAll(counting(() -> tryForward(dual)), HookOutcome.GRADIENT, 1);
    } finally {
      torch.exit_dual_level(level);
    }
    assertAll(counting(() -> sdpa(x, x, x)), HookOutcome.SAGE, 1);
  }

  /** PyTorch's fused kernel has no forward-mode formula and says so. */
  private static void tryForward(Tensor dual) {
    try {
      sdpa(dual, dual, dual);
    } catch (RuntimeException e) {
      Assert.assertTrue(e.getMessage().contains("forward"), e.getMessage());
    }
  }

  @Test
  public void oneOfPyTorchsKernelsAskedForByName() {
    Tensor x = random(BF16, 1, 2, 20, 64);
    var context = torch.globalContext();
    context.setSDPUseFlash(false);
    assertAll(counting(() -> sdpa(x, x, x)), HookOutcome.SAGE, 1); // three are left
    context.setSDPUseMemEfficient(false);
    context.setSDPUseCuDNN(false);
    try {
      assertLeft(HookOutcome.SDPA_BACKENDS, () -> sdpa(x, x, x));
    } finally {
      context.setSDPUseFlash(true);
      context.setSDPUseMemEfficient(true);
      context.setSDPUseCuDNN(true);
    }
  }

  /** Without a kernel of its own left, PyTorch has an exception for the program. */
  @Test
  public void noneOfPyTorchsKernelsLeft() {
    Tensor x = random(BF16, 1, 2, 20, 64);
    Tensor[] t = {x, x, x};
    var context = torch.globalContext();
    context.setSDPUseFlash(false);
    context.setSDPUseMemEfficient(false);
    context.setSDPUseCuDNN(false);
    context.setSDPUseMath(false);
    try {
      String expected = byPyTorch(() -> failure(t));
      Assert.assertNotEquals(expected, "none");
      assertAll(
          counting(() -> Assert.assertEquals(failure(t), expected)), HookOutcome.SDPA_BACKENDS, 1);
    } finally {
      context.setSDPUseFlash(true);
      context.setSDPUseMemEfficient(true);
      context.setSDPUseCuDNN(true);
      context.setSDPUseMath(true);
    }
  }

  /** Deterministic algorithms: the kernels give the same bits each time, so nothing is declined. */
  @Test
  public void deterministicAlgorithmsAreServed() {
    Tensor x = random(BF16, 1, 2, 20, 64);
    Tensor before = sdpa(x, x, x);
    var context = torch.globalContext();
    context.setDeterministicAlgorithms(true, false);
    try { // PyTorch fills what it allocates with NaN then: all of output has to be written
      assertAll(
          counting(() -> Assert.assertTrue(torch.equal(sdpa(x, x, x), before))),
          HookOutcome.SAGE,
          1);
    } finally {
      context.setDeterministicAlgorithms(false, false);
    }
  }
}
