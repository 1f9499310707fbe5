package org.attn4j.torch;

import java.nio.file.Path;

/** Loads the libtorch of a folder, and asks for the hook. */
final class OldLibtorchProgram {
  private OldLibtorchProgram() {}

  public static void main(String[] arguments) {
    for (String library : arguments) {
      System.load(Path.of(library).toAbsolutePath().toString());
    }
    System.out.println("install: " + TorchHook.install().orElse("installed"));
    System.out.println("isInstalled: " + TorchHook.isInstalled());
    System.out.println("counts: " + TorchHook.counts());
  }
}
