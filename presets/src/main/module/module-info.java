/**
 * The bindings of libattn4j and the loader that picks the library for the GPU. Internal: programs
 * require org.attn4j.
 */
module org.attn4j.natives {
  requires transitive org.bytedeco.cuda;
  requires transitive org.bytedeco.javacpp;

  // JavaCPP's Loader makes instances of the presets and reads the others.
  exports org.attn4j.natives to
      org.attn4j,
      org.attn4j.torch,
      org.bytedeco.javacpp;
  exports org.attn4j.natives.global to
      org.attn4j,
      org.attn4j.torch,
      org.bytedeco.javacpp;
  exports org.attn4j.presets to
      org.bytedeco.javacpp;
  exports org.attn4j.runtime to
      org.attn4j,
      org.attn4j.platform,
      org.attn4j.pytorch,
      org.attn4j.torch,
      org.bytedeco.javacpp,
      org.attn4j.natives.linux.x86_64,
      org.attn4j.natives.linux.x86_64.sm80,
      org.attn4j.natives.linux.x86_64.sm86,
      org.attn4j.natives.linux.x86_64.sm87,
      org.attn4j.natives.linux.x86_64.sm89,
      org.attn4j.natives.linux.x86_64.sm90,
      org.attn4j.natives.linux.x86_64.sm100,
      org.attn4j.natives.linux.x86_64.sm103,
      org.attn4j.natives.linux.x86_64.sm110,
      org.attn4j.natives.linux.x86_64.sm120,
      org.attn4j.natives.linux.x86_64.sm121;

  // So that the modules of the natives are resolved by being on the module path.
  uses org.attn4j.runtime.NativesModule;
}
