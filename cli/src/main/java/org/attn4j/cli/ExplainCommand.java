package org.attn4j.cli;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import java.io.PrintWriter;
import java.util.List;
import java.util.concurrent.Callable;
import org.attn4j.Attention;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.AttentionTensor;
import org.attn4j.BackendVerdict;
import org.attn4j.BackendVerdict.Outcome;
import org.attn4j.CausalMask;
import org.attn4j.DeviceTensor;
import org.attn4j.HostTensor;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/** Says which backend would serve a shape, and why the others would not. */
@Command(
    name = "explain",
    description = {
      "Says which backend serves a shape here, and what each of the others answers.",
      "Exit code 1: none serves it."
    },
    mixinStandardHelpOptions = true)
final class ExplainCommand implements Callable<Integer> {
  @Spec private CommandSpec spec;

  @Parameters(
      paramLabel = "SHAPE",
      converter = Shape.Converter.class,
      description = "BxHxLxD, BxHQ/HKVxLQ/LKxD, or a preset: see bench --list.")
  private Shape shape;

  @Option(
      names = "--dtype",
      defaultValue = "fp16",
      description = "fp16, bf16 or fp32 (default: ${DEFAULT-VALUE}).")
  private ElementType dtype;

  @Option(names = "--causal", description = "With a causal mask, aligned at the top left.")
  private boolean causal;

  @Option(
      names = "--gpu",
      negatable = true,
      description = "On the GPU, or not (default: if there).")
  private Boolean gpu;

  @Option(names = "--device", defaultValue = "0", description = "The GPU's number (default: 0).")
  private int device;

  @Option(names = "--json", description = "One JSON object instead of lines.")
  private boolean json;

  @Override
  public Integer call() {
    boolean onGpu = Machine.usesGpu(gpu, device);
    try (AttentionTensor q = allocate(onGpu, shape.sizesQ());
        AttentionTensor k = allocate(onGpu, shape.sizesKv());
        AttentionTensor v = allocate(onGpu, shape.sizesKv());
        AttentionTensor o = allocate(onGpu, shape.sizesQ())) {
      AttentionOptions options =
          AttentionOptions.builder()
              .causalMask(causal ? CausalMask.TOP_LEFT : CausalMask.NONE)
              .build();
      List<BackendVerdict> verdicts =
          Attention.explain(
              AttentionRequest.builder().q(q).k(k).v(v).o(o).options(options).build());
      String where = onGpu ? Machine.gpuName(device) : "host memory, " + Machine.cpuName();
      PrintWriter out = spec.commandLine().getOut();
      if (json) {
        out.println(json(where, verdicts));
      } else {
        print(out, where, verdicts);
      }
      out.flush();
      return verdicts.stream().anyMatch(v1 -> v1.outcome() == Outcome.SERVES) ? 0 : 1;
    }
  }

  private AttentionTensor allocate(boolean onGpu, long... sizes) {
    return onGpu
        ? DeviceTensor.allocate(device, dtype.dtype(), sizes)
        : HostTensor.allocate(dtype.dtype(), sizes);
  }

  private void print(PrintWriter out, String where, List<BackendVerdict> verdicts) {
    out.printf(
        "%s%s, %s%s, on %s%n",
        shape.name().equals(shape.form()) ? "" : shape.name() + ": ",
        shape.form(),
        dtype.id(),
        causal ? ", causal" : "",
        where);
    for (BackendVerdict verdict : verdicts) {
      out.printf("  %-8s %-9s %s%n", verdict.backend().id(), verdict.outcome(), verdict.reason());
    }
  }

  private JsonObject json(String where, List<BackendVerdict> verdicts) {
    JsonObject report = new JsonObject();
    report.addProperty("shape", shape.form());
    report.addProperty("dtype", dtype.id());
    report.addProperty("causal", causal);
    report.addProperty("where", where);
    JsonArray all = new JsonArray();
    for (BackendVerdict verdict : verdicts) {
      JsonObject one = new JsonObject();
      one.addProperty("backend", verdict.backend().id());
      one.addProperty("outcome", verdict.outcome().name());
      one.addProperty("reason", verdict.reason());
      all.add(one);
    }
    report.add("verdicts", all);
    return report;
  }
}
