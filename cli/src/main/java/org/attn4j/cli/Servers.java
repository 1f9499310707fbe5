package org.attn4j.cli;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import org.attn4j.Attention;
import org.attn4j.AttentionOptions;
import org.attn4j.BackendInfo;
import org.attn4j.BackendMode;
import org.attn4j.CausalMask;
import org.attn4j.DType;
import org.attn4j.SdpaBackend;
import org.attn4j.SparsityOptions;
import org.attn4j.cli.Attn4jCommand.FailedException;
import org.attn4j.cli.Attn4jCommand.UsageException;
import org.attn4j.cli.bench.AttentionServer;
import org.attn4j.cli.bench.Server;
import org.attn4j.cli.bench.TorchServer;

/** Who is measured, and how it is set up for a shape. */
final class Servers {
  private static final String PYTORCH = "pytorch";
  private static final String SPARGE = "sparge:";
  private static final List<String> KNOWN = List.of("auto", "sage", "exact", "cpu", PYTORCH);

  private final int device; // below 0: the CPU
  private final DType dtype;
  private final boolean causal;
  private final List<String> names;

  Servers(int device, DType dtype, boolean causal, List<String> asked, Progress progress) {
    this.device = device;
    this.dtype = dtype;
    this.causal = causal;
    this.names = asked.isEmpty() ? ready(progress) : checked(asked);
  }

  static void requireKnown(String name) {
    if (!KNOWN.contains(name) && !name.startsWith(SPARGE)) {
      throw new UsageException(
          "--backend is %s; accepted is %s or %sSHARE"
              .formatted(name, String.join(", ", KNOWN), SPARGE));
    }
    if (name.startsWith(SPARGE)) {
      share(name);
    }
  }

  private static float share(String name) {
    String text = name.substring(SPARGE.length());
    try {
      float share = Float.parseFloat(text);
      if (share > 0 && share <= 1) {
        return share;
      }
    } catch (NumberFormatException e) {
      // the sentence below says it
    }
    throw new UsageException(
        "the share of sparge is " + text + "; above 0 and up to 1 is accepted");
  }

  /** Those that can be measured here. */
  List<String> names() {
    return names;
  }

  private List<String> checked(List<String> asked) {
    for (String name : asked) {
      boolean cpu = name.equals("cpu");
      if (cpu != device < 0 && !name.equals(PYTORCH) && !name.equals("auto")) {
        throw new FailedException(
            cpu
                ? "cpu serves host memory: add --no-gpu"
                : name + " can't run here: no GPU is used; the doctor says why");
      }
      if (name.equals(PYTORCH)) {
        TorchServer.obstacle(device >= 0)
            .ifPresent(
                why -> {
                  throw new FailedException("pytorch can't be measured: " + why);
                });
      }
    }
    return List.copyOf(asked);
  }

  private List<String> ready(Progress progress) {
    List<String> found = new ArrayList<>();
    if (device < 0) {
      found.add("cpu");
    } else {
      found.add("auto");
      for (BackendInfo backend : Attention.backends()) {
        if (backend.ready() && List.of("sage", "exact").contains(backend.name())) {
          found.add(backend.name());
        }
      }
    }
    Optional<String> obstacle = TorchServer.obstacle(device >= 0);
    if (obstacle.isEmpty()) {
      found.add(PYTORCH);
    } else {
      progress.line("pytorch stays out: " + obstacle.get());
    }
    return found;
  }

  Server open(String name, Shape shape) {
    if (name.equals(PYTORCH)) {
      return new TorchServer(device, dtype, shape.sizesQ(), shape.sizesKv(), causal);
    }
    return new AttentionServer(name, device, dtype, shape.sizesQ(), shape.sizesKv(), options(name));
  }

  private AttentionOptions options(String name) {
    AttentionOptions.Builder options =
        AttentionOptions.builder().causalMask(causal ? CausalMask.TOP_LEFT : CausalMask.NONE);
    if (name.startsWith(SPARGE)) {
      return options
          .backend(SdpaBackend.SPARGE)
          .mode(BackendMode.REQUIRE)
          .sparsity(SparsityOptions.byTopk(share(name)))
          .build();
    }
    if (name.equals("auto")) {
      return options.build();
    }
    return options
        .backend(SdpaBackend.valueOf(name.toUpperCase(Locale.ROOT)))
        .mode(BackendMode.REQUIRE)
        .build();
  }
}
