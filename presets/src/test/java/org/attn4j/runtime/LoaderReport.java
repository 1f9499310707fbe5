package org.attn4j.runtime;

import java.util.Map;
import java.util.Optional;
import org.bytedeco.javacpp.Loader;

/** The child process of {@link LoaderTest}: one process can load one library only. */
public final class LoaderReport {
  private LoaderReport() {}

  /** Prints what was chosen and loaded, one key=value per line. */
  public static void main(String[] args) {
    Selection selection = NativeLibrary.selection();
    System.out.println("state=" + selection.state());
    System.out.println("message=" + selection.message());
    System.out.println("arch=" + selection.arch().map(Arch::name).orElse(""));
    selection.driver().devices().forEach(device -> System.out.println("device=" + device));
    Optional<String> failure = NativeLibrary.loadFailure();
    System.out.println("failure=" + failure.orElse(""));
    System.out.println("obstacle=" + NativeLibrary.gpuObstacle().orElse(""));
    if (failure.isEmpty()) {
      Map<String, String> loaded = Loader.getLoadedLibraries();
      System.out.println("library=" + loaded.get("attn4j"));
      System.out.println("glue=" + loaded.get("jniattn4j"));
      System.out.println("abi=" + org.attn4j.natives.global.attn4j.abi_version());
      System.out.println("code=" + org.attn4j.natives.global.attn4j.arch_list().getString());
      System.out.println("devices=" + org.attn4j.natives.global.attn4j.device_count());
    }
  }
}
