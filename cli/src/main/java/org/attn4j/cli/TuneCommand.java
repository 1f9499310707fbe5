package org.attn4j.cli;

import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.CausalMask;
import org.attn4j.CudaStream;
import org.attn4j.DeviceTensor;
import org.attn4j.SparsityProfile;
import org.attn4j.SparsityProfiles;
import org.attn4j.SparsityTuner;
import org.attn4j.TensorLayout;
import org.attn4j.cli.Attn4jCommand.UsageException;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.Spec;

/** Finds SpargeAttn's thresholds for a layer. */
@Command(
    name = "tune",
    description = {
      "Finds SpargeAttn's thresholds, per head, on queries, keys and values of a model.",
      "Needs a GPU that SpargeAttn runs on. The tensors are files of numpy.save with four sizes."
    },
    mixinStandardHelpOptions = true)
final class TuneCommand implements Callable<Integer> {
  @Spec private CommandSpec spec;

  @Option(names = "--q", required = true, paramLabel = "FILE", description = "The queries, .npy.")
  private Path queries;

  @Option(names = "--k", required = true, paramLabel = "FILE", description = "The keys, .npy.")
  private Path keys;

  @Option(names = "--v", required = true, paramLabel = "FILE", description = "The values, .npy.")
  private Path values;

  @Option(
      names = "--out",
      required = true,
      paramLabel = "FILE",
      description = "The profile to write. With --layer: the model's file to add the layer to.")
  private Path out;

  @Option(names = "--layer", paramLabel = "NAME", description = "The layer's name in the file.")
  private String layer;

  @Option(
      names = "--model",
      paramLabel = "NAME",
      defaultValue = "",
      description = "The model's name, for a new file of layers.")
  private String model;

  @Option(
      names = "--dtype",
      defaultValue = "fp16",
      description = "fp16 or bf16: what the model computes in (default: ${DEFAULT-VALUE}).")
  private ElementType dtype;

  @Option(
      names = "--layout",
      defaultValue = "HND",
      description = "hnd: batch, heads, tokens, channels; nhd: tokens first (default: hnd).")
  private TensorLayout layout;

  @Option(names = "--causal", description = "With a causal mask, aligned at the top left.")
  private boolean causal;

  @Option(
      names = "--l1",
      defaultValue = "0.06",
      description = "Relative L1 error allowed with blocks left out (default: ${DEFAULT-VALUE}).")
  private float l1;

  @Option(
      names = "--pv-l1",
      defaultValue = "0.065",
      description = "The same with P V skipped besides (default: ${DEFAULT-VALUE}).")
  private float pvL1;

  @Option(names = "--device", defaultValue = "0", description = "The GPU's number (default: 0).")
  private int device;

  @Option(names = "--quiet", description = "No progress on stderr.")
  private boolean quiet;

  @Override
  public Integer call() throws IOException {
    if (!dtype.dtype().isHalf()) {
      throw new UsageException("--dtype is " + dtype.id() + "; fp16 and bf16 are accepted");
    }
    SparsityTuner.Budget budget = new SparsityTuner.Budget(l1, pvL1);
    Map<String, SparsityProfile> layers = known(); // a file that can't be used ends it now
    NpyFile q = NpyFile.read(queries);
    NpyFile k = NpyFile.read(keys);
    NpyFile v = NpyFile.read(values);
    Machine.usesGpu(true, device);
    SparsityProfile profile = tune(q, k, v, budget);
    print(spec.commandLine().getOut(), profile);
    save(profile, layers);
    return 0;
  }

  private SparsityProfile tune(NpyFile q, NpyFile k, NpyFile v, SparsityTuner.Budget budget) {
    Progress progress = new Progress(spec.commandLine().getErr(), quiet);
    try (CudaStream stream = CudaStream.create(device);
        DeviceTensor deviceQ = toDevice(q);
        DeviceTensor deviceK = toDevice(k);
        DeviceTensor deviceV = toDevice(v);
        DeviceTensor o = DeviceTensor.allocate(device, dtype.dtype(), q.sizes())) {
      AttentionOptions options =
          AttentionOptions.builder()
              .layout(layout)
              .causalMask(causal ? CausalMask.TOP_LEFT : CausalMask.NONE)
              .build();
      AttentionRequest request =
          AttentionRequest.builder().q(deviceQ).k(deviceK).v(deviceV).o(o).options(options).stream(
                  stream)
              .build();
      return SparsityTuner.tune(
          request, budget, (done, total) -> progress.step("tuning: " + done + " of " + total));
    } finally {
      progress.done();
    }
  }

  private DeviceTensor toDevice(NpyFile file) {
    return DeviceTensor.of(device, dtype.dtype(), file.values(), file.sizes());
  }

  /** The layers that the profile is to be added to. */
  private Map<String, SparsityProfile> known() throws IOException {
    Path folder = out.toAbsolutePath().getParent();
    if (!Files.isWritable(Files.exists(out) ? out : folder)) {
      throw new UsageException("--out is " + out + ", which can't be written");
    }
    Map<String, SparsityProfile> layers = new LinkedHashMap<>();
    if (layer != null && Files.exists(out)) {
      SparsityProfiles known = SparsityProfiles.load(out);
      layers.putAll(known.layers());
      model = model.isEmpty() ? known.model() : model;
    }
    return layers;
  }

  private void save(SparsityProfile profile, Map<String, SparsityProfile> layers)
      throws IOException {
    if (layer == null) {
      profile.save(out);
      return;
    }
    layers.put(layer, profile);
    SparsityProfiles.of(model, layers).save(out);
  }

  private static void print(PrintWriter to, SparsityProfile profile) {
    to.printf(
        "%4s %12s %11s %10s %8s %9s%n",
        "head", "simthreshd1", "cdfthreshd", "pvthreshd", "l1", "left out");
    for (int head = 0; head < profile.heads(); head++) {
      to.printf(
          Locale.ROOT,
          "%4d %12.3f %11.4f %10.2f %8.4f %8.1f%%%n",
          head,
          profile.simthreshd1()[head],
          profile.cdfthreshd()[head],
          profile.pvthreshd()[head],
          profile.l1()[head],
          profile.sparsity()[head] * 100);
    }
    to.flush();
  }
}
