package org.attn4j.server.diffusion;

import java.util.ArrayList;
import java.util.List;
import java.util.function.Supplier;
import org.attn4j.AttentionOptions;
import org.attn4j.SdpaBackend;
import org.attn4j.SparsityOptions;
import org.attn4j.torch.HookCounts;
import org.attn4j.torch.TorchHook;

/**
 * One way to compute the model's attention.
 *
 * @param name for tables
 * @param painter the model
 * @param choose makes this way the one that serves, before each picture
 * @param calls what became of the attention calls so far; empty where nobody counts
 */
record StudyWay(String name, Painter painter, Runnable choose, Supplier<String> calls) {

  /**
   * The ways of one implementation of the model; exact attention comes first.
   *
   * @param dense exact attention, and SageAttention's
   * @param sparse SpargeAttn with these thresholds, under this name
   */
  record Family(List<StudyWay> dense, Sparse sparse) {}

  /** Makes a sparse way. */
  interface Sparse {
    StudyWay with(String name, SparsityOptions thresholds);
  }

  /** The model in Java on the CPU backend. */
  static Family onCpu(Model model) {
    Painter exact = model.onCpu(null);
    Painter int8 = model.painter().with(new Int8Attention());
    return new Family(
        List.of(
            new StudyWay("exact", exact, () -> {}, () -> ""),
            new StudyWay("sage's rounding", int8, () -> {}, () -> "")),
        (name, thresholds) -> new StudyWay(name, model.onCpu(thresholds), () -> {}, () -> ""));
  }

  /** The model in Java, its attention on a GPU over our own tensors. */
  static Family onGpu(Model model) {
    Painter exact = model.painter().with(new DeviceAttention(SdpaBackend.EXACT, null));
    Painter sage = model.painter().with(new DeviceAttention(SdpaBackend.SAGE, null));
    return new Family(
        List.of(
            new StudyWay("exact", exact, () -> {}, exact::kernel),
            new StudyWay("sage", sage, () -> {}, sage::kernel)),
        (name, thresholds) -> {
          Painter sparse = model.onGpu(thresholds);
          return new StudyWay(name, sparse, () -> {}, sparse::kernel);
        });
  }

  /**
   * The model as TorchScript in PyTorch: its own attention alone, if the hook can't be installed.
   */
  static Family onTorch(Model model) {
    Painter painter = model.onTorch();
    if (!TorchHook.isInstalled()) {
      return new Family(
          List.of(new StudyWay("PyTorch's own", painter, () -> {}, painter::kernel)), null);
    }
    List<StudyWay> dense = new ArrayList<>();
    dense.add(hooked("exact", painter, SdpaBackend.EXACT, SparsityOptions.OFF));
    dense.add(hooked("sage", painter, SdpaBackend.SAGE, SparsityOptions.OFF));
    dense.add(
        new StudyWay(
            "PyTorch's own",
            painter,
            () -> TorchHook.setEnabled(false),
            () -> "hook switched off"));
    return new Family(
        dense, (name, thresholds) -> hooked(name, painter, SdpaBackend.SPARGE, thresholds));
  }

  private static StudyWay hooked(
      String name, Painter painter, SdpaBackend backend, SparsityOptions thresholds) {
    AttentionOptions options =
        AttentionOptions.builder().backend(backend).sparsity(thresholds).build();
    HookCounts[] seen = new HookCounts[1];
    return new StudyWay(
        name,
        painter,
        () -> {
          TorchHook.setEnabled(true);
          TorchHook.setDefaults(options, List.of());
          seen[0] = TorchHook.counts();
        },
        () -> TorchHook.counts().since(seen[0]).toString());
  }
}
