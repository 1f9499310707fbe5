/** Scaled dot-product attention for the JVM. */
module org.attn4j {
  requires com.google.gson;
  requires transitive org.attn4j.natives;
  requires transitive org.bytedeco.cuda;
  requires transitive org.bytedeco.javacpp;

  exports org.attn4j;
  exports org.attn4j.backend to
      org.attn4j.pytorch,
      org.attn4j.torch;
}
