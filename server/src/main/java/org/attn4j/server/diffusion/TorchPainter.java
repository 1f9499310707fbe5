package org.attn4j.server.diffusion;

import java.io.IOException;
import java.nio.file.Path;
import java.util.Optional;
import org.attn4j.torch.HookCounts;
import org.attn4j.torch.TorchHook;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.IValue;
import org.bytedeco.pytorch.IValueVector;
import org.bytedeco.pytorch.InferenceMode;
import org.bytedeco.pytorch.JitModule;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * The model as TorchScript in bytedeco's PyTorch, its attention served by attn4j's hook where there
 * is a GPU for it. On a GPU in FP16, on a CPU in FP32. Loaded only where PyTorch is on the class
 * path.
 */
final class TorchPainter implements Painter {
  private final JitModule module;
  private final boolean gpu;
  private final String hook; // why it isn't installed, or null
  private final HookCounts before;

  private TorchPainter(JitModule module, boolean gpu, String hook) {
    this.module = module;
    this.gpu = gpu;
    this.hook = hook;
    before = TorchHook.counts();
  }

  /** Reads a model.pt, or throws IOException with PyTorch's reason. */
  static TorchPainter load(Path file) throws IOException {
    Optional<String> hook = TorchHook.install();
    boolean gpu = torch.cuda_is_available();
    try {
      DeviceOptional cpu = new DeviceOptional(new Device("cpu")); // it may have been saved on a GPU
      JitModule module = torch.load(file.toString(), cpu, true);
      if (gpu) {
        module.to(new Device("cuda"), false);
      } else {
        module.to(ScalarType.Float, false); // of PyTorch's CPU operators not all know FP16
      }
      module.eval();
      return new TorchPainter(module, gpu, hook.orElse(null));
    } catch (RuntimeException e) { // what a C++ exception becomes
      String reason = String.valueOf(e.getMessage()).lines().findFirst().orElse("");
      throw new IOException(file + " is no TorchScript model that PyTorch reads: " + reason, e);
    }
  }

  @Override
  @SuppressWarnings("try") // the two are there for being closed
  public float[] velocity(float[] x, int height, int width, double phi, int[] words) {
    ScalarType type = gpu ? ScalarType.Half : ScalarType.Float;
    try (PointerScope scope = new PointerScope();
        InferenceMode inference = new InferenceMode(true)) {
      Tensor picture = torch.tensor(x).reshape(1, 3, height, width);
      long[] tokens = new long[words.length];
      for (int i = 0; i < words.length; i++) {
        tokens[i] = words[i];
      }
      Tensor angle = torch.tensor(new float[] {(float) phi});
      Tensor text = torch.tensor(tokens).reshape(1, words.length);
      IValueVector arguments =
          new IValueVector(
              new IValue(onDevice(picture).to(type)),
              new IValue(onDevice(angle)),
              new IValue(onDevice(text)));
      Tensor v = module.forward(arguments).toTensor().to(ScalarType.Float).cpu().contiguous();
      float[] values = new float[x.length];
      new FloatPointer(v.data_ptr_float()).get(values);
      return values;
    }
  }

  private Tensor onDevice(Tensor tensor) {
    return gpu ? tensor.cuda() : tensor;
  }

  @Override
  public String backend() {
    return hook == null && gpu ? "attn4j in PyTorch" : "pytorch";
  }

  /** What became of the attention calls of this process since the model was loaded. */
  @Override
  public String kernel() {
    return hook == null ? TorchHook.counts().since(before).toString() : "PyTorch's own: " + hook;
  }

  @Override
  public boolean onGpu() {
    return gpu;
  }

  @Override
  public double leftOut() {
    return 0;
  }

  @Override
  public void close() {
    module.close();
  }
}
