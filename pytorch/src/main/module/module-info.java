/** A drop-in for PyTorch's attention on org.bytedeco.pytorch tensors. */
module org.attn4j.pytorch {
  requires transitive org.attn4j;
  requires transitive org.attn4j.torch;
  requires transitive org.bytedeco.pytorch;

  exports org.attn4j.pytorch;
}
