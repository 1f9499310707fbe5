package org.attn4j.torch;

import static org.attn4j.torch.Hooked.BF16;
import static org.attn4j.torch.Hooked.arguments;
import static org.attn4j.torch.Hooked.assertAll;
import static org.attn4j.torch.Hooked.assertClose;
import static org.attn4j.torch.Hooked.byPyTorch;
import static org.attn4j.torch.Hooked.counting;
import static org.attn4j.torch.Hooked.forward;
import static org.attn4j.torch.Hooked.random;
import static org.attn4j.torch.Hooked.script;
import static org.attn4j.torch.Hooked.withoutGrad;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.bytedeco.pytorch.Future;
import org.bytedeco.pytorch.JitModule;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.DeviceType;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.Assert;
import org.testng.annotations.BeforeClass;
import org.testng.annotations.Test;

/** TorchScript: nobody could change its lines. */
public class TorchScriptTest {
  private static final String TWO_ATTENTIONS =
      "def forward(self, q, k, v):\n"
          + "    h = torch.scaled_dot_product_attention(q, k, v, None, 0.0, True)\n"
          + "    return torch.scaled_dot_product_attention(h, k, v)\n";

  private Tensor q;
  private Tensor k;
  private JitModule loaded;
  private Tensor expected;

  @BeforeClass
  public void saveAndLoad() throws IOException {
    Hooked.install();
    q = random(BF16, 2, 4, 33, 64);
    k = random(BF16, 2, 4, 47, 64);
    Path file = Files.createTempFile("attn4j", ".pt");
    script(TWO_ATTENTIONS).save(file.toString());
    loaded = torch.load(file.toString());
    Files.delete(file);
    expected = byPyTorch(() -> withoutGrad(() -> forward(loaded, q, k, k)));
  }

  @Test
  public void everyRunOfALoadedModuleIsServed() {
    for (int run = 0; run < 4; run++) { // the first ones are profiled, the later ones optimised
      assertAll(
          counting(() -> withoutGrad(() -> check(forward(loaded, q, k, k)))), HookOutcome.SAGE, 2);
    }
  }

  private Tensor check(Tensor actual) {
    assertClose(actual, expected, k);
    return actual;
  }

  @Test
  public void frozenAndOptimisedModulesAreServed() {
    JitModule frozen = torch.freeze(loaded);
    JitModule optimised = torch.optimize_for_inference(loaded.deepcopy());
    for (JitModule module : new JitModule[] {frozen, optimised}) {
      for (int run = 0; run < 3; run++) {
        assertAll(counting(() -> check(forward(module, q, k, k))), HookOutcome.SAGE, 2);
      }
    }
  }

  @Test
  public void asynchronousRunsAreServed() {
    assertAll(
        counting(
            () ->
                withoutGrad(
                    () -> {
                      Future future = loaded.get_method("forward").run_async(arguments(q, k, k));
                      future._wait();
                      return check(future.value().toTensor());
                    })),
        HookOutcome.SAGE,
        2);
  }

  @Test
  public void autocastIsServed() {
    Tensor x = q.to(ScalarType.Float);
    Tensor y = k.to(ScalarType.Float);
    torch.set_autocast_enabled(DeviceType.CPU, true);
    torch.set_autocast_dtype(DeviceType.CPU, BF16);
    try {
      assertAll(
          counting(() -> withoutGrad(() -> check(forward(loaded, x, y, y)))), HookOutcome.SAGE, 2);
    } finally {
      torch.set_autocast_enabled(DeviceType.CPU, false);
      torch.clear_cache();
    }
  }

  @Test
  public void aParameterThatWantsAGradientDeclinesUnlessGradientsAreOff() {
    JitModule model = new JitModule(new org.bytedeco.pytorch.QualifiedName("__torch__.Weighted"));
    model.register_parameter("w", torch.eye(64).to(BF16).requires_grad_(true), false);
    model.define(
        "def forward(self, x):\n"
            + "    h = torch.matmul(x, self.w)\n"
            + "    return torch.scaled_dot_product_attention(h, h, h)\n");
    model.eval();
    assertAll(counting(() -> forward(model, q)), HookOutcome.GRADIENT, 1);
    assertAll(counting(() -> withoutGrad(() -> forward(model, q))), HookOutcome.SAGE, 1);
    JitModule frozen = torch.freeze(model);
    assertAll(counting(() -> forward(frozen, q)), HookOutcome.SAGE, 1);
    Assert.assertFalse(forward(frozen, q).requires_grad());
  }
}
