package org.attn4j.pytorch;

import java.util.concurrent.TimeUnit;
import org.attn4j.AttentionOptions;
import org.attn4j.SdpaBackend;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;
import org.openjdk.jmh.results.format.ResultFormatType;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.options.ChainedOptionsBuilder;
import org.openjdk.jmh.runner.options.OptionsBuilder;

/**
 * What the drop-in adds to PyTorch's own call: JMH, CPU tensors of length 1. {@link #pytorch} and
 * {@link #pytorchPackedHeads} are what the others are compared with.
 */
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 5, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(
    value = 3,
    jvmArgsAppend = {
      "-Xms256m",
      "-Xmx256m",
      "-Dorg.bytedeco.javacpp.maxPhysicalBytes=0",
      "-Dorg.bytedeco.javacpp.maxBytes=0"
    })
@State(Scope.Thread)
public class BridgeBenchmark {
  private static final AttentionOptions CPU =
      AttentionOptions.builder().backend(SdpaBackend.CPU).build();

  private Tensor one;
  private Tensor packed;

  /** Draws the tensors. */
  @Setup(Level.Trial)
  public void draw() {
    one = torch.randn(1, 1, 1, 64);
    packed = torch.randn(1, 1, 64);
  }

  /** Frees them. */
  @TearDown(Level.Trial)
  public void close() {
    one.close();
    packed.close();
  }

  /** PyTorch's own call. */
  @Benchmark
  public void pytorch() {
    torch.scaled_dot_product_attention(one, one, one).close();
  }

  /** The drop-in, where PyTorch serves. */
  @Benchmark
  public void dropIn() {
    Attn4j.scaled_dot_product_attention(one, one, one).close();
  }

  /** What a program with packed heads writes without the drop-in: PyTorch's call and its views. */
  @Benchmark
  @SuppressWarnings("try") // the scope is there to be closed
  public void pytorchPackedHeads() {
    try (PointerScope temporaries = new PointerScope()) {
      torch
          .scaled_dot_product_attention(heads(packed), heads(packed), heads(packed))
          .transpose(1, 2)
          .reshape(1, 1, 64);
    }
  }

  private static Tensor heads(Tensor tensor) {
    return tensor.view(1, 1, 1, 64).transpose(1, 2);
  }

  /** The drop-in over packed heads, where PyTorch serves and needs those views. */
  @Benchmark
  public void dropInPackedHeads() {
    Attn4j.attention(packed, packed, packed, 1).close();
  }

  /** The drop-in with our CPU backend: a request is built and run. */
  @Benchmark
  public void dropInCpuBackend() {
    Attn4j.scaled_dot_product_attention(one, one, one, CPU).close();
  }

  /** What a call asks of its tensors before it is known who serves. */
  @Benchmark
  public Sizes questions() {
    SdpaCall call = new SdpaCall(one, one, one, null, 0, null, false, CPU, Packing.HND, 0);
    CallCheck.check(call);
    return Obstacles.find(call, SdpaBackend.CPU) == null ? Geometry.of(call).sizes() : null;
  }

  /** Runs all of it; with a file name as argument the results go there as JSON. */
  public static void main(String[] args) throws RunnerException {
    ChainedOptionsBuilder options =
        new OptionsBuilder().include(BridgeBenchmark.class.getName() + "\\..*");
    if (args.length > 0) {
      options.resultFormat(ResultFormatType.JSON).result(args[0]);
    }
    new Runner(options.build()).run();
  }
}
