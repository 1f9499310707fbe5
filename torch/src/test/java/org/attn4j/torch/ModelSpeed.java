package org.attn4j.torch;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import org.attn4j.AttentionOptions;
import org.attn4j.SparsityOptions;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.AutoGradMode;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.IValue;
import org.bytedeco.pytorch.IValueVector;
import org.bytedeco.pytorch.JitModule;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.DeviceType;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.bytedeco.pytorch.global.torch_cuda;

/**
 * Time per step of {@link ModelFile}'s transformer on the GPU, with the hook and without, in turns;
 * medians of rounds. The program loads the file as any program would. Prints one JSON object a
 * line: sizes, milliseconds a step, how the outputs compare, who served.
 */
final class ModelSpeed {
  private static final int WIDTH = 1024;
  private static final int HEADS = 8; // of 128 channels, as in Flux
  private static final int BLOCKS = 4;
  private static final long BATCH = 2; // with and without the prompt
  private static final int ROUNDS = 7;
  private static final double ROUND_SECONDS = 0.02;

  private ModelSpeed() {}

  public static void main(String[] arguments) throws IOException {
    if (!torch.cuda_is_available()) {
      System.out.println("{\"bench\": \"torch_model\", \"skipped\": \"no CUDA device\"}");
      return;
    }
    TorchHook.install().ifPresent(ModelSpeed::fail);
    for (ScalarType type : List.of(ScalarType.Half, ScalarType.BFloat16)) {
      Path file = Files.createTempFile("transformer", ".pt");
      ModelFile.write(file, WIDTH, HEADS, BLOCKS, type);
      try (JitModule model = torch.load(file.toString())) {
        model.to(new Device(DeviceType.CUDA, (byte) 0), false);
        model.eval();
        for (long tokens : new long[] {1024, 4096, 16384}) {
          measure(model, type, tokens, "auto", AttentionOptions.DEFAULTS);
          if (tokens >= 8192) { // from where auto mode predicts blocks to leave out
            AttentionOptions dense =
                AttentionOptions.builder().sparsity(SparsityOptions.OFF).build();
            measure(model, type, tokens, "dense", dense);
          }
        }
      }
      Files.delete(file);
    }
  }

  private static void fail(String sentence) {
    throw new IllegalStateException(sentence);
  }

  @SuppressWarnings("try") // guard and scope are there to be closed
  private static void measure(
      JitModule model, ScalarType type, long tokens, String mode, AttentionOptions options) {
    TorchHook.setDefaults(options, List.of());
    try (AutoGradMode guard = new AutoGradMode(false);
        PointerScope scope = new PointerScope()) {
      IValueVector inputs = new IValueVector();
      inputs.push_back(new IValue(random(type, BATCH, tokens, WIDTH)));
      inputs.push_back(new IValue(random(type, BATCH, 1, WIDTH)));
      TorchHook.setEnabled(false);
      Tensor expected = model.forward(inputs).toTensor().to(ScalarType.Float);
      steps(model, inputs, 3);
      int steps = (int) Math.max(2, ROUND_SECONDS / (steps(model, inputs, 3) / 1e3));
      TorchHook.setEnabled(true);
      HookCounts before = TorchHook.counts();
      Tensor actual = model.forward(inputs).toTensor().to(ScalarType.Float);
      HookCounts counts = TorchHook.counts().since(before);
      steps(model, inputs, 3);
      double[][] times = new double[2][ROUNDS];
      for (int round = 0; round < ROUNDS; round++) {
        for (int on = 0; on < 2; on++) {
          TorchHook.setEnabled(on == 1);
          times[on][round] = steps(model, inputs, steps);
        }
      }
      print(type, tokens, mode, median(times[0]), median(times[1]), actual, expected, counts);
    }
  }

  /** Milliseconds a step. */
  @SuppressWarnings("try") // the scope is there to be closed
  private static double steps(JitModule model, IValueVector inputs, int steps) {
    torch_cuda.getCurrentCUDAStream().synchronize();
    long begin = System.nanoTime();
    for (int i = 0; i < steps; i++) {
      try (PointerScope scope = new PointerScope()) {
        model.forward(inputs);
      }
    }
    torch_cuda.getCurrentCUDAStream().synchronize();
    return (System.nanoTime() - begin) / 1e6 / steps;
  }

  private static double median(double[] values) {
    double[] sorted = values.clone();
    Arrays.sort(sorted);
    return sorted[sorted.length / 2];
  }

  private static Tensor random(ScalarType type, long... sizes) {
    TensorOptions options =
        new TensorOptions()
            .dtype(new ScalarTypeOptional(type))
            .device(new DeviceOptional(new Device(DeviceType.CUDA, (byte) 0)));
    return torch.randn(sizes, options);
  }

  private static void print(
      ScalarType type,
      long tokens,
      String mode,
      double without,
      double with,
      Tensor actual,
      Tensor expected,
      HookCounts counts) {
    double cosine =
        actual.mul(expected).sum().item_double()
            / (actual.norm().item_double() * expected.norm().item_double());
    double l1 = actual.sub(expected).abs().sum().item_double() / expected.abs().sum().item_double();
    System.out.printf(
        Locale.ROOT,
        "{\"bench\": \"torch_model\", \"type\": \"%s\", \"batch\": %d, \"tokens\": %d, \"width\": %d,"
            + " \"heads\": %d, \"blocks\": %d, \"mode\": \"%s\", \"ms_without\": %.4f,"
            + " \"ms_with\": %.4f, \"speed_up\": %.3f, \"cosine\": %.7f, \"relative_l1\": %.6f,"
            + " \"calls\": \"%s\"}%n",
        type,
        BATCH,
        tokens,
        WIDTH,
        HEADS,
        BLOCKS,
        mode,
        without,
        with,
        without / with,
        cosine,
        l1,
        counts);
  }
}
