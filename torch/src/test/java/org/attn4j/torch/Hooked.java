package org.attn4j.torch;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import org.bytedeco.pytorch.AutoGradMode;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.IValue;
import org.bytedeco.pytorch.IValueVector;
import org.bytedeco.pytorch.JitModule;
import org.bytedeco.pytorch.QualifiedName;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.Assert;
import org.testng.SkipException;

/** bytedeco's libtorch with the hook over the stand-in library: what the tests have in common. */
final class Hooked {
  static final TensorOptional NO_MASK = new TensorOptional().retainReference();
  static final DoubleOptional NO_SCALE = new DoubleOptional().retainReference();
  static final ScalarType BF16 = ScalarType.BFloat16;

  private Hooked() {}

  /** Where Maven builds. */
  static Path target() {
    return Path.of(System.getProperty("attn4j.torch.target"));
  }

  static Path standIn() {
    return Path.of(System.getProperty(HookSettings.CPU_LIBRARY_PROPERTY));
  }

  /** Skips the test where there was no g++. */
  static void requireNatives() {
    if (!Files.exists(standIn())) {
      throw new SkipException("no native library: this machine has no g++");
    }
  }

  /** Loads libtorch and installs the hook; a test class begins with it. */
  static void install() {
    requireNatives();
    torch.manual_seed(18);
    Assert.assertEquals(TorchHook.install(), Optional.empty());
    Assert.assertTrue(TorchHook.isEnabled());
  }

  static Tensor random(ScalarType type, long... shape) {
    return torch.randn(shape).to(type);
  }

  static Tensor sdpa(Tensor q, Tensor k, Tensor v) {
    return sdpa(q, k, v, false);
  }

  static Tensor sdpa(Tensor q, Tensor k, Tensor v, boolean causal) {
    return torch.scaled_dot_product_attention(q, k, v, NO_MASK, 0, causal, NO_SCALE, false);
  }

  /** Without the hook: what PyTorch itself does, gradients included. */
  static <T> T byPyTorch(java.util.function.Supplier<T> action) {
    TorchHook.setEnabled(false);
    try {
      return action.get();
    } finally {
      TorchHook.setEnabled(true);
    }
  }

  @SuppressWarnings("try") // the guard is there to be closed
  static <T> T withoutGrad(java.util.function.Supplier<T> action) {
    try (AutoGradMode guard = new AutoGradMode(false)) {
      return action.get();
    }
  }

  /**
   * The bound of the difference between PyTorch's kernel and the stand-in: PyTorch rounds weights
   * to the tensors' type, which is half a unit of their last place for a weighted mean of values,
   * and both round the result.
   */
  static double bound(Tensor v) {
    double halfUnit = v.scalar_type().value == BF16.value ? 0x1p-9 : 0x1p-12;
    return 3 * halfUnit * v.to(ScalarType.Float).abs().max().item_double();
  }

  static double difference(Tensor a, Tensor b) {
    return a.to(ScalarType.Float).sub(b.to(ScalarType.Float)).abs().max().item_double();
  }

  static void assertClose(Tensor actual, Tensor expected, Tensor v) {
    Assert.assertEquals(actual.sizes().vec().get(), expected.sizes().vec().get());
    double difference = difference(actual, expected);
    Assert.assertTrue(difference <= bound(v), difference + " is above " + bound(v));
  }

  /** A TorchScript module with one method. */
  static JitModule script(String source) {
    JitModule module = new JitModule(new QualifiedName("__torch__.Tested"));
    module.define(source);
    module.eval();
    return module;
  }

  static Tensor forward(JitModule module, Tensor... tensors) {
    return module.forward(arguments(tensors)).toTensor();
  }

  static IValueVector arguments(Tensor... tensors) {
    IValueVector values = new IValueVector();
    for (Tensor tensor : tensors) {
      values.push_back(new IValue(tensor));
    }
    return values;
  }

  /** Runs an action and says what became of its calls. */
  static HookCounts counting(Runnable action) {
    HookCounts before = TorchHook.counts();
    action.run();
    return TorchHook.counts().since(before);
  }

  static void assertAll(HookCounts counts, HookOutcome outcome, long times) {
    Assert.assertEquals(counts.byOutcome(), java.util.Map.of(outcome, times), counts.toString());
  }
}
