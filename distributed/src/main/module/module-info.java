/** Attention of one sequence over several processes, on org.bytedeco.pytorch tensors. */
module org.attn4j.distributed {
  requires transitive org.attn4j;
  requires transitive org.bytedeco.pytorch;

  exports org.attn4j.distributed;
}
