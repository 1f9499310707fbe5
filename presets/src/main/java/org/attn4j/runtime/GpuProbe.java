package org.attn4j.runtime;

import org.bytedeco.javacpp.Loader;
import org.bytedeco.javacpp.annotation.Namespace;
import org.bytedeco.javacpp.annotation.NoException;
import org.bytedeco.javacpp.annotation.Platform;
import org.bytedeco.javacpp.annotation.Properties;
import org.bytedeco.javacpp.presets.javacpp;

/**
 * The driver probe's native side ({@code gpu_probe.h}). Written by hand, because the preset asks it
 * before any generated class can be loaded. {@link Driver#probe} is the way to use it; {@link
 * #load} comes before any other call.
 */
@Properties(
    inherit = javacpp.class,
    value =
        @Platform(
            value = {"linux-x86_64", "linux-arm64"},
            compiler = "cpp17",
            include = "gpu_probe.h",
            library = "jniattn4jprobe"))
@Namespace("attn4j_probe")
@NoException
public final class GpuProbe {
  private GpuProbe() {}

  /**
   * Loads the native side. Not in a static initialiser, which would hold this class while it waits
   * for JavaCPP, and lose the reason of a failure at the second call.
   */
  static void load() {
    JavaCpp.initialise();
    Loader.load(GpuProbe.class);
  }

  static native int status();

  static native String status_detail();

  static native int driver_version();

  static native int device_count();

  static native int compute_capability(int ordinal);

  static native String device_name(int ordinal);

  static native String open_failure(String path);
}
