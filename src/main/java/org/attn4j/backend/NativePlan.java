package org.attn4j.backend;

import org.attn4j.BlockGrid;
import org.attn4j.DeviceMemory;

/**
 * What the native library planned for one request: facts, and the plan itself, which a run hands
 * back. It holds none of the request's tensors.
 */
final class NativePlan {
  private static final long NEVER = 1L << 62; // kNeverSparse

  private final NativeKernel function;
  private final String kernel;
  private final String precision;
  private final long workspaceBytes;
  private final int launches;
  private final long sparseFrom;
  private final BlockGrid grid;

  // The plan as the library wrote it; null until a request turns out to be used again, so that one
  // that runs once costs no copy.
  private volatile byte[] handle;
  // Whether the tensors' addresses need no look-up: allocated here, or looked up by the first run.
  // A
  // race looks them up twice.
  private boolean trusted;
  private long trustedScratch; // address of scratch memory that was looked up

  NativePlan(
      NativeKernel function,
      String kernel,
      String precision,
      long workspaceBytes,
      int launches,
      long sparseFrom,
      BlockGrid grid) {
    this.function = function;
    this.kernel = kernel;
    this.precision = precision;
    this.workspaceBytes = workspaceBytes;
    this.launches = launches;
    this.sparseFrom = sparseFrom;
    this.grid = grid;
  }

  /** The native function that was asked for. */
  NativeKernel function() {
    return function;
  }

  /** The kernel's name in the library's list. */
  String kernel() {
    return kernel;
  }

  /** One phrase: what runs. */
  String description() {
    return "kernel " + kernel + " (" + precision + ")";
  }

  long workspaceBytes() {
    return workspaceBytes;
  }

  /** Kernels, copies and fills that a run enqueues. */
  int launches() {
    return launches;
  }

  /** Keys from which SpargeAttn is worth a try instead of this kernel. */
  long sparseFrom() {
    return sparseFrom;
  }

  /** Whether this kernel was chosen because the problem is too small for sparsity. */
  boolean neverSparse() {
    return sparseFrom >= NEVER;
  }

  /** The blocks of a sparse function; null for others. */
  BlockGrid grid() {
    return grid;
  }

  byte[] handle() {
    return handle;
  }

  void handle(byte[] copy) {
    handle = copy;
  }

  /** Whether a run with this scratch memory, or null, needs no look-up of addresses. */
  boolean trusts(DeviceMemory scratch) {
    return trusted && (scratch == null || scratch.isOwned() || scratch.address() == trustedScratch);
  }

  /** The addresses of the plan's request are memory of its device, and so is the scratch memory. */
  void trust(DeviceMemory scratch) {
    trusted = true;
    if (scratch != null && !scratch.isOwned()) {
      trustedScratch = scratch.address();
    }
  }
}
