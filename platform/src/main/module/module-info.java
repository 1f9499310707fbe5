/** The API, the bindings, and the natives of all released GPU architectures. */
module org.attn4j.platform {
  requires org.attn4j.natives;
  requires transitive org.attn4j;
  requires org.attn4j.natives.linux.x86_64;
  requires org.attn4j.natives.linux.x86_64.sm80;
  requires org.attn4j.natives.linux.x86_64.sm86;
  requires org.attn4j.natives.linux.x86_64.sm89;
  requires org.attn4j.natives.linux.x86_64.sm90;
  requires org.attn4j.natives.linux.x86_64.sm120;
  requires org.bytedeco.javacpp.linux.x86_64;
}
