package org.attn4j.pytorch;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.function.Supplier;
import org.attn4j.torch.HookCounts;
import org.attn4j.torch.TorchHook;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.AutoGradMode;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.IValue;
import org.bytedeco.pytorch.IValueVector;
import org.bytedeco.pytorch.JitModule;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.DeviceType;
import org.bytedeco.pytorch.global.torch.ScalarType;
import org.bytedeco.pytorch.global.torch_cuda;

/**
 * Time per step of the diffusion transformer of samples/model, at several numbers of tokens, in
 * fp16 and bf16, four ways in turns: its TorchScript file without the hook and with it, and {@link
 * JavaPainter}, the same model in Java, with PyTorch's attention and with the drop-in. Medians of
 * rounds; one JSON object a line. Without a GPU the hook serves by the tests' stand-in kernels, if
 * there are any: then it shows that the ways agree, and its times mean nothing.
 *
 * <pre>HookModelBench MODEL.pt BATCH TOKENS ...</pre>
 */
final class HookModelBench {
  private static final int ROUNDS = 9;
  private static final double ROUND_SECONDS = 0.04;

  /** A way to run a step. */
  private record Way(String name, boolean hook, Supplier<Tensor> step) {}

  private final boolean cuda = torch.cuda_is_available();
  private final String file;
  private final long batch;

  private HookModelBench(String file, long batch) {
    this.file = file;
    this.batch = batch;
  }

  public static void main(String[] arguments) {
    TorchHook.install()
        .ifPresent(
            sentence -> {
              throw new IllegalStateException(sentence);
            });
    torch.manual_seed(18);
    HookModelBench bench = new HookModelBench(arguments[0], Long.parseLong(arguments[1]));
    for (ScalarType type : List.of(ScalarType.Half, ScalarType.BFloat16)) {
      for (int i = 2; i < arguments.length; i++) {
        bench.measure(type, Long.parseLong(arguments[i]));
      }
    }
  }

  /** A fresh copy of the file each time: TorchScript's compiled graphs are bound to the shapes. */
  private JitModule load(ScalarType type) {
    JitModule model = torch.load(file);
    model.to(type, false);
    if (cuda) {
      model.to(new Device(DeviceType.CUDA, (byte) 0), false);
    }
    model.eval();
    return model;
  }

  @SuppressWarnings("try") // guard and scope are there to be closed
  private void measure(ScalarType type, long tokens) {
    long side = 2 * Math.round(Math.sqrt(tokens));
    try (AutoGradMode guard = new AutoGradMode(false);
        PointerScope scope = new PointerScope();
        JitModule model = load(type)) {
      Tensor picture = torch.randn(new long[] {batch, 3, side, side}, Torch.options(type, cuda));
      Tensor phi = torch.rand(new long[] {batch}, Torch.options(ScalarType.Float, cuda));
      Tensor words =
          torch.randint(1, 4, new long[] {batch, 4}, Torch.options(ScalarType.Long, cuda));
      IValueVector inputs =
          new IValueVector(new IValue(picture), new IValue(phi), new IValue(words));
      JavaPainter own = new JavaPainter(model, torch::scaled_dot_product_attention);
      JavaPainter dropIn = new JavaPainter(model, Attn4j::scaled_dot_product_attention);
      Supplier<Tensor> script = () -> model.forward(inputs).toTensor();
      List<Way> ways =
          List.of(
              new Way("TorchScript, PyTorch", false, script),
              new Way("TorchScript, hook", true, script),
              new Way("Java, PyTorch", false, () -> own.forward(picture, phi, words)),
              new Way("Java, drop-in", true, () -> dropIn.forward(picture, phi, words)));
      compare(type, tokens, ways, times(ways));
    }
  }

  /** Milliseconds a step, for each way. */
  private double[] times(List<Way> ways) {
    double[][] millis = new double[ways.size()][ROUNDS];
    int[] steps = new int[ways.size()];
    for (int way = 0; way < steps.length; way++) {
      run(ways.get(way), 4); // TorchScript profiles and compiles
      steps[way] = (int) Math.max(2, ROUND_SECONDS * 1e3 / run(ways.get(way), 2));
    }
    for (int round = 0; round < ROUNDS; round++) {
      for (int way = 0; way < steps.length; way++) {
        millis[way][round] = run(ways.get(way), cuda ? steps[way] : 1);
      }
    }
    return Arrays.stream(millis).mapToDouble(HookModelBench::median).toArray();
  }

  @SuppressWarnings("try") // the scope is there to be closed
  private double run(Way way, int steps) {
    TorchHook.setEnabled(way.hook());
    synchronize();
    long begin = System.nanoTime();
    for (int i = 0; i < steps; i++) {
      try (PointerScope scope = new PointerScope()) {
        way.step().get();
      }
    }
    synchronize();
    return (System.nanoTime() - begin) / 1e6 / steps;
  }

  private void synchronize() {
    if (cuda) {
      torch_cuda.getCurrentCUDAStream().synchronize();
    }
  }

  private static double median(double[] values) {
    double[] sorted = values.clone();
    Arrays.sort(sorted);
    return sorted[sorted.length / 2];
  }

  /** Against the first way, and the drop-in against the hook. */
  private void compare(ScalarType type, long tokens, List<Way> ways, double[] millis) {
    List<Tensor> outputs = new ArrayList<>();
    List<HookCounts> counts = new ArrayList<>();
    for (Way way : ways) {
      TorchHook.setEnabled(way.hook());
      HookCounts before = TorchHook.counts();
      outputs.add(way.step().get());
      counts.add(TorchHook.counts().since(before));
    }
    for (int i = 0; i < ways.size(); i++) {
      int base = i < 2 ? 0 : 2;
      System.out.printf(
          Locale.ROOT,
          "{\"bench\": \"hook_model\", \"type\": \"%s\", \"batch\": %d, \"tokens\": %d, \"way\": \"%s\","
              + " \"ms\": %.4f, \"speed_up\": %.3f, \"to_pytorch\": \"%s\", \"to_hook\": \"%s\","
              + " \"calls\": \"%s\"}%n",
          type,
          batch,
          tokens,
          ways.get(i).name(),
          millis[i],
          millis[base] / millis[i],
          Torch.Difference.of(outputs.get(i), outputs.get(0)),
          Torch.Difference.of(outputs.get(i), outputs.get(1)),
          counts.get(i));
    }
  }
}
