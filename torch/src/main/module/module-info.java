/**
 * Serves scaled_dot_product_attention in whatever libtorch the process has loaded. DJL's service
 * loader finds us on the class path alone, as a module can't provide a service that may be absent:
 * named modules call TorchHook.install().
 */
module org.attn4j.torch {
  requires static ai.djl.api;
  requires transitive org.attn4j;

  exports org.attn4j.torch;
}
