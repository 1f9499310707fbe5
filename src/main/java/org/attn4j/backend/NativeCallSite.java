package org.attn4j.backend;

import org.attn4j.AttentionRequest;

/** A call site in the native library's table (attn4j/site.h), which has the rule. */
final class NativeCallSite implements CallSite {
  private final NativeKernel kernel;
  private volatile long name; // the library's, which forgets sites that are not used

  private NativeCallSite(NativeKernel kernel, long name) {
    this.kernel = kernel;
    this.name = name;
  }

  /** The site of a request for a sparse function, or null if no kernel serves it. */
  static CallSite of(NativeKernel kernel, AttentionRequest request) {
    long name = NativeAttention.site(kernel, request);
    return name < 0 ? null : new NativeCallSite(kernel, name);
  }

  @Override
  public boolean decide(AttentionRequest request) {
    if (NativeAttention.decide(this, name, request)) {
      return NativeAttention.decidedSparse();
    }
    name = NativeAttention.site(kernel, request);
    // If it is gone again, more sites are in use at once than the table has: dense serves any call.
    return NativeAttention.decide(this, name, request) && NativeAttention.decidedSparse();
  }

  @Override
  public Standing standing(AttentionRequest request) {
    return NativeAttention.standing(name, request);
  }
}
