package org.attn4j.runtime;

import org.bytedeco.javacpp.annotation.Namespace;
import org.bytedeco.javacpp.annotation.NoException;
import org.bytedeco.javacpp.annotation.Platform;
import org.bytedeco.javacpp.annotation.Properties;

/**
 * The native side of {@code libraries.h}: which libattn4j.so the calls of a thread go to. It is in
 * the same JNI library as the generated bindings, which has to be loaded before.
 */
@Properties(
    inherit = org.attn4j.presets.attn4j.class,
    value =
        @Platform(
            value = {"linux-x86_64", "linux-arm64"},
            include = "libraries.h",
            library = "jniattn4j"))
@Namespace("attn4j_libraries")
@NoException
final class Libraries {
  private Libraries() {}

  static native int bindings_abi();

  static native int open_library(String path);

  static native String library_error();

  static native void use_library(int number);
}
