package org.attn4j.pytorch;

import static org.testng.Assert.assertEquals;

import java.util.Optional;
import java.util.function.Supplier;
import org.attn4j.torch.HookCounts;
import org.attn4j.torch.TorchHook;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.DeviceType;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.testng.ITestResult;
import org.testng.SkipException;

/** What the tests of the hook on CUDA tensors have in common. */
final class HookedCuda {
  private HookedCuda() {}

  /** Installs the hook, or skips the test. */
  static void install() {
    if (!torch.cuda_is_available()) {
      throw new SkipException("no CUDA device, or PyTorch's CPU build");
    }
    assertEquals(Attn4j.install(), Optional.empty());
    TorchHook.setEnabled(true);
    torch.manual_seed(18);
  }

  /** The other tests of this module mean PyTorch's own attention when they call it. */
  static void switchOff() {
    if (TorchHook.isInstalled()) {
      TorchHook.setEnabled(false);
    }
  }

  /** As they come: a machine that is lent by the minute may be gone before the report. */
  static void report(ITestResult result) {
    System.out.println(
        "hook, " + result.getName() + (result.isSuccess() ? ": ok" : ": " + result.getThrowable()));
  }

  static Tensor byPyTorch(Supplier<Tensor> call) {
    TorchHook.setEnabled(false);
    try {
      return call.get();
    } finally {
      TorchHook.setEnabled(true);
    }
  }

  static HookCounts counting(Runnable action) {
    HookCounts before = TorchHook.counts();
    action.run();
    return TorchHook.counts().since(before);
  }

  /** The same bits; NaN is itself. */
  static boolean same(Tensor a, Tensor b) {
    return CallCheck.sizes(a).equals(CallCheck.sizes(b)) && a.allclose(b, 0, 0, true);
  }

  /** N(0, 1) in fp16. */
  static Tensor draw(int device, long... sizes) {
    TensorOptions options =
        new TensorOptions()
            .dtype(new ScalarTypeOptional(ScalarType.Half))
            .device(new DeviceOptional(new Device(DeviceType.CUDA, (byte) device)));
    return torch.randn(sizes, options);
  }
}
