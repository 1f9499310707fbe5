package org.attn4j.torch;

import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.attn4j.natives.global.attn4j;
import org.attn4j.runtime.NativeLibrary;

/** Where the functions of plan.h are that serve a device. */
final class KernelTable {
  /** The mangled names, in the order of the struct Kernels in torch/src/main/cpp/chain.h. */
  static final List<String> NAMES =
      List.of(
          mangled("plan_attention", "RKNS_11PlanRequestEPNS_10PlanHandleEPNS_9PlanFactsE"),
          mangled("run_plan", "RKNS_10PlanHandleERKNS_13PlanAddressesEP11CUstream_st"),
          mangled("last_error", "v"),
          mangled("attention_site", "RKNS_11PlanRequestE"),
          mangled("decide_site", "lNS_8SiteModeEP11CUstream_stPNS_12SiteDecisionE"));

  private KernelTable() {}

  /** A function of namespace attn4j by the Itanium C++ ABI. */
  private static String mangled(String name, String parameters) {
    return "_ZN6attn4j" + name.length() + name + "E" + parameters;
  }

  /**
   * The library that serves a GPU.
   *
   * @return empty if none does
   */
  static Optional<Path> libraryOf(int device) {
    return NativeLibrary.file(device);
  }

  /** Why the library of this process can't be used with the hook's native code, or empty. */
  static Optional<String> abiObstacle() {
    int expected = HookLibrary.abiVersion();
    int found = attn4j.abi_version();
    return expected == found
        ? Optional.empty()
        : Optional.of(
            "attn4j-torch was built for ABI version %d of the kernels, and %d is loaded: use JARs of one version"
                .formatted(expected, found));
  }

  /** Hands the functions of a library to the hook. Empty, or one sentence. */
  static Optional<String> install(int device, int computeCapability, Path library) {
    String[] names = NAMES.toArray(String[]::new);
    long[] addresses = HookLibrary.lookup(library.toString(), names);
    if (addresses == null) {
      return Optional.of("the library " + library + " can't be opened");
    }
    String missing =
        IntStream.range(0, names.length)
            .filter(i -> addresses[i] == 0)
            .mapToObj(i -> names[i])
            .collect(Collectors.joining(", "));
    if (!missing.isEmpty()) {
      return Optional.of("the library " + library + " lacks " + missing);
    }
    return HookLibrary.setKernels(device, computeCapability, addresses)
        ? Optional.empty()
        : Optional.of("the native library of attn4j-torch expects another table of functions");
  }
}
