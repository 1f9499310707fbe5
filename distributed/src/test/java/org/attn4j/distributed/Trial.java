package org.attn4j.distributed;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.attn4j.DType;
import org.attn4j.SdpaBackend;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch_cuda;

/** What the sections of bench/distributed_results.py share: data, the clock, errors, JSON lines. */
final class Trial {
  /** One problem and how often it is timed; as an argument {@code sage:75600:40:40:128:0:10}. */
  record Shape(SdpaBackend backend, SequenceProblem problem, int rounds) {
    static Shape of(String text) {
      String[] part = text.split(":");
      SequenceProblem problem =
          new SequenceProblem(
              Long.parseLong(part[1]),
              1,
              Integer.parseInt(part[2]),
              Integer.parseInt(part[3]),
              Integer.parseInt(part[4]),
              part[5].equals("1"));
      SdpaBackend backend = SdpaBackend.valueOf(part[0].toUpperCase(Locale.ROOT));
      return new Shape(backend, problem, Integer.parseInt(part[6]));
    }
  }

  private static final int CHECKED_ROWS = 24;

  final String transport;
  final RankEnvironment environment;

  Trial(String transport, RankEnvironment environment) {
    this.transport = transport;
    this.environment = environment;
  }

  /** -1 on the CPU. */
  int cudaDevice() {
    return transport.equals("gloo")
        ? -1
        : transport.equals("staged") ? 0 : environment.localRank() % torch_cuda.device_count();
  }

  DType type() {
    return cudaDevice() < 0 ? DType.FLOAT32 : DType.FLOAT16;
  }

  /** Waits for the GPU, if there is one. */
  void synchronize() {
    if (cudaDevice() >= 0) {
      torch_cuda.device_synchronize();
    }
  }

  /** Normal numbers, the same on all ranks: (1, heads, tokens, headDim). */
  Tensor numbers(int seed, int heads, long tokens, int headDim) {
    torch.manual_seed(seed);
    return Tensors.scoped(
        () -> Tensors.empty(type(), cudaDevice(), 1, heads, tokens, headDim).normal_());
  }

  /** q, k and v of the whole sequence. */
  Tensor[] whole(SequenceProblem problem) {
    Tensor[] all = new Tensor[3];
    for (int i = 0; i < 3; i++) {
      int heads = i == 0 ? problem.heads() : problem.kvHeads();
      all[i] = numbers(3 + i, heads, problem.tokens(), problem.headDim());
    }
    return all;
  }

  /** Milliseconds of a call, the GPU's work included. */
  double millis(Runnable call) {
    synchronize();
    long start = System.nanoTime();
    call.run();
    synchronize();
    return (System.nanoTime() - start) / 1e6;
  }

  /** The median of {@code rounds} calls after two that don't count. */
  double median(int rounds, Runnable call) {
    millis(call);
    millis(call);
    double[] times = new double[rounds];
    for (int i = 0; i < rounds; i++) {
      times[i] = millis(call);
    }
    Arrays.sort(times);
    return times[rounds / 2];
  }

  /** Some rows of an output of these tokens: evenly spread, the first and the last among them. */
  static List<Long> rows(long count) {
    List<Long> rows = new ArrayList<>();
    long checked = Math.min(count, CHECKED_ROWS);
    for (long i = 0; i < checked; i++) {
      rows.add(checked == 1 ? 0 : i * (count - 1) / (checked - 1));
    }
    return rows;
  }

  /**
   * Relative L1 error of some rows of {@code o} (1, heads, count, headDim), against softmax in FP32
   * over the whole sequence.
   *
   * @param token which token of the sequence each row of o is
   */
  @SuppressWarnings("try") // the scope is there to be closed
  static double error(Tensor o, Tensor[] whole, long[] token, boolean causal) {
    double difference = 0;
    double size = 0;
    try (PointerScope all = new PointerScope()) {
      Tensor k = whole[1].select(0, 0).to(torch.ScalarType.Float); // (kvHeads, tokens, headDim)
      Tensor v = whole[2].select(0, 0).to(torch.ScalarType.Float);
      long group = whole[0].size(1) / k.size(0);
      for (long row : rows(o.size(2))) {
        try (PointerScope one = new PointerScope()) {
          long seen = causal ? token[(int) row] + 1 : k.size(1);
          Tensor q =
              whole[0]
                  .select(0, 0)
                  .select(1, token[(int) row])
                  .to(torch.ScalarType.Float)
                  .view(k.size(0), group, k.size(2));
          Tensor scores =
              q.matmul(k.narrow(1, 0, seen).transpose(1, 2))
                  .mul(new Scalar(1 / Math.sqrt(k.size(2))));
          Tensor wanted = scores.softmax(-1).matmul(v.narrow(1, 0, seen));
          Tensor got = o.select(0, 0).select(1, row).to(torch.ScalarType.Float);
          difference += got.sub(wanted.view(got.shape())).abs().sum().item_double();
          size += wanted.abs().sum().item_double();
        }
      }
    }
    return size == 0 ? 0 : difference / size;
  }

  /** A JSON object on a line of its own; numbers, texts, booleans and null. */
  static void print(Object... keysAndValues) {
    Map<String, Object> row = new LinkedHashMap<>();
    for (int i = 0; i < keysAndValues.length; i += 2) {
      row.put((String) keysAndValues[i], keysAndValues[i + 1]);
    }
    StringBuilder line = new StringBuilder("{");
    row.forEach(
        (key, value) ->
            line.append(line.length() > 1 ? ", " : "")
                .append(text(key))
                .append(": ")
                .append(json(value)));
    System.out.println(line.append("}"));
    System.out.flush();
  }

  private static String json(Object value) {
    if (value instanceof Double number) {
      return number.isNaN() || number.isInfinite()
          ? "null"
          : String.format(Locale.ROOT, "%.6g", number);
    }
    return value == null || value instanceof Number || value instanceof Boolean
        ? String.valueOf(value)
        : text(value.toString());
  }

  private static String text(String value) {
    return '"' + value.replaceAll("[^ -~]", " ").replace("\\", "\\\\").replace("\"", "\\\"") + '"';
  }

  /** Prints what went wrong in a step; the next step is tried all the same. */
  void failed(String section, String step, Throwable e) {
    StackTraceElement[] frames = e.getStackTrace();
    print(
        "what",
        "failed",
        "section",
        section,
        "step",
        step,
        "transport",
        transport,
        "rank",
        environment.rank(),
        "error",
        e.toString().split("\n")[0],
        "at",
        frames.length == 0 ? "" : Arrays.stream(frames).limit(6).toList().toString());
  }
}
