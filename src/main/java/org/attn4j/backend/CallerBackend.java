package org.attn4j.backend;

import org.attn4j.AttentionRequest;
import org.attn4j.BackendInfo;
import org.attn4j.SdpaBackend;

/** The place in the chain of a backend that the caller runs itself, such as PyTorch's SDPA. */
final class CallerBackend implements AttentionBackend {
  private final SdpaBackend name;
  private final String what;

  CallerBackend(SdpaBackend name, String what) {
    this.name = name;
    this.what = what;
  }

  @Override
  public SdpaBackend name() {
    return name;
  }

  @Override
  public BackendInfo info() {
    return new BackendInfo(name.id(), true, what);
  }

  /** Serves everything, also what is no request: null. */
  @Override
  public Support supports(AttentionRequest request) {
    return Support.served(what, 0);
  }

  @Override
  public void run(AttentionRequest request, Support answer) {
    throw new IllegalStateException(name.id() + " is run by the caller of the chain, not by it");
  }
}
