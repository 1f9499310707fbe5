package org.attn4j.torch;

import java.util.Arrays;
import java.util.Locale;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.AutoGradMode;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.IValue;
import org.bytedeco.pytorch.IValueVector;
import org.bytedeco.pytorch.JitModule;
import org.bytedeco.pytorch.QualifiedName;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.DeviceType;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.bytedeco.pytorch.global.torch_cuda;

/**
 * What the hook costs a call, in microseconds of the host: attention in a TorchScript loop, over
 * tensors of 8 heads, 64 tokens and 64 channels, so that neither Java nor the GPU is in the way.
 * Each call reads the one before, or TorchScript would merge them. First without the hook, then
 * with it. bench/cpp/call_cost.cpp has the C API's own time for the same call.
 */
final class HookCost {
  private static final int LOOPS = 200; // far from the number of launches that a stream takes
  private static final int ROUNDS = 41;

  private HookCost() {}

  public static void main(String[] arguments) {
    boolean cuda = torch.cuda_is_available();
    JitModule module = new JitModule(new QualifiedName("__torch__.Loop"));
    module.define(
        "def forward(self, q, k, v):\n"
            + "    o = q\n"
            + "    for i in range("
            + LOOPS
            + "):\n"
            + "        o = torch.scaled_dot_product_attention(o, k, v)\n"
            + "    return o\n");
    module.define(
        "def masked(self, q, k, v, m):\n"
            + "    o = q\n"
            + "    for i in range("
            + LOOPS
            + "):\n"
            + "        o = torch.scaled_dot_product_attention(o, k, v, m)\n"
            + "    return o\n");
    long[] sizes = {1, 8, 64, 64};
    for (int i = 0; i < arguments.length; i++) {
      sizes[i + 1] = Long.parseLong(arguments[i]);
    }
    Tensor half = random(cuda, ScalarType.Half, sizes);
    Tensor wide = random(cuda, ScalarType.Float, sizes);
    Tensor mask = random(cuda, ScalarType.Half, sizes[2], sizes[2]);
    measure(module, "without", "half", half, null, cuda);
    measure(module, "without", "float", wide, null, cuda);
    measure(module, "without", "mask", half, mask, cuda);
    TorchHook.install().ifPresent(HookCost::fail);
    measure(module, "with", "half", half, null, cuda);
    measure(module, "with", "float", wide, null, cuda);
    measure(module, "with", "mask", half, mask, cuda);
    TorchHook.setEnabled(false);
    measure(module, "switched off", "half", half, null, cuda);
    System.out.println("{\"bench\": \"hook_cost\", \"calls\": \"" + TorchHook.counts() + "\"}");
  }

  private static void fail(String sentence) {
    throw new IllegalStateException(sentence);
  }

  @SuppressWarnings("try") // guard and scope are there to be closed
  private static void measure(
      JitModule module, String hook, String what, Tensor x, Tensor mask, boolean cuda) {
    double[] micros = new double[ROUNDS];
    try (AutoGradMode guard = new AutoGradMode(false);
        PointerScope scope = new PointerScope()) {
      IValueVector inputs = new IValueVector();
      for (int i = 0; i < 3; i++) {
        inputs.push_back(new IValue(x));
      }
      if (mask != null) {
        inputs.push_back(new IValue(mask));
      }
      String method = mask == null ? "forward" : "masked";
      for (int round = -5; round < ROUNDS; round++) {
        synchronize(cuda);
        long begin = System.nanoTime();
        module.get_method(method).apply(inputs);
        if (round >= 0) {
          micros[round] = (System.nanoTime() - begin) / 1e3 / LOOPS;
        }
      }
    }
    synchronize(cuda);
    Arrays.sort(micros);
    System.out.printf(
        Locale.ROOT,
        "{\"bench\": \"hook_cost\", \"hook\": \"%s\", \"call\": \"%s\", \"us_median\": %.3f, \"us_min\": %.3f}%n",
        hook,
        what,
        micros[ROUNDS / 2],
        micros[0]);
  }

  private static void synchronize(boolean cuda) {
    if (cuda) {
      torch_cuda.getCurrentCUDAStream().synchronize();
    }
  }

  private static Tensor random(boolean cuda, ScalarType type, long... sizes) {
    Device device = cuda ? new Device(DeviceType.CUDA, (byte) 0) : new Device(DeviceType.CPU);
    TensorOptions options =
        new TensorOptions().dtype(new ScalarTypeOptional(type)).device(new DeviceOptional(device));
    return torch.randn(sizes, options);
  }
}
