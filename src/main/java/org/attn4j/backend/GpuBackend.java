package org.attn4j.backend;

import java.util.Optional;
import org.attn4j.AttentionRequest;
import org.attn4j.BackendInfo;
import org.attn4j.CudaStream;
import org.attn4j.DeviceMemory;
import org.attn4j.DeviceTensor;
import org.attn4j.SdpaBackend;
import org.attn4j.WorkspaceTooSmallException;
import org.attn4j.runtime.NativeLibrary;

/** What the GPU backends have in common: one native function, device tensors, scratch memory. */
abstract class GpuBackend implements AttentionBackend {
  private static final int WORKSPACE_ALIGNMENT = 256;

  private final SdpaBackend name;

  GpuBackend(SdpaBackend name) {
    this.name = name;
  }

  /** Why this backend doesn't serve a request over device tensors although it could, or null. */
  String refusal(AttentionRequest request) {
    return null;
  }

  /** Why the request doesn't fit what was planned for it, or null. */
  String misfit(AttentionRequest request, NativePlan plan) {
    return null;
  }

  /** The native function that serves this request. */
  abstract NativeKernel kernel(AttentionRequest request);

  @Override
  public final SdpaBackend name() {
    return name;
  }

  @Override
  public BackendInfo info() {
    String obstacle = NativeLibrary.gpuObstacle().orElse(null);
    return new BackendInfo(
        name.id(), obstacle == null, obstacle == null ? NativeLibrary.summary() : obstacle);
  }

  @Override
  public Support supports(AttentionRequest request) {
    Support obstacle = obstacle(request);
    return obstacle == null ? answer(request) : obstacle;
  }

  /** Why the request isn't served, as far as that is known before it is planned, or null. */
  final Support obstacle(AttentionRequest request) {
    if (!request.q().isDevice()) {
      return Support.elsewhere("q is host memory; device memory is accepted");
    }
    if (!request.q().dtype().isHalf()) {
      return Support.refused("q is " + request.q().dtype() + "; FLOAT16 and BFLOAT16 are accepted");
    }
    Optional<String> obstacle = NativeLibrary.gpuObstacle(((DeviceTensor) request.q()).device());
    if (obstacle.isPresent()) {
      return Support.refused(obstacle.get());
    }
    if (request.mask() != null && request.mask().deviceObstacle() != null) {
      return Support.refused(request.mask().deviceObstacle());
    }
    String refusal = refusal(request);
    return refusal == null ? null : Support.refused(refusal);
  }

  /** The answer to a request without obstacle: its plan. */
  final Support answer(AttentionRequest request) {
    Support answer = NativeAttention.supports(kernel(request), request);
    String misfit = answer.supported() ? misfit(request, answer.plan()) : null;
    return misfit == null ? answer : Support.refused(misfit);
  }

  @Override
  public final void run(AttentionRequest request, Support answer) {
    NativePlan plan = answer.plan();
    long workspaceBytes = plan.workspaceBytes();
    DeviceMemory own = request.workspace();
    if (own != null) {
      checkWorkspace(own, workspaceBytes);
      NativeAttention.run(plan, request, own, answer.site());
      return;
    }
    CudaStream stream = request.stream();
    if (workspaceBytes == 0) {
      NativeAttention.run(plan, request, null, answer.site());
      return;
    }
    synchronized (stream) { // the kernels of two calls must not interleave over one workspace
      NativeAttention.run(plan, request, stream.workspace(workspaceBytes), answer.site());
    }
  }

  private static void checkWorkspace(DeviceMemory workspace, long needed) {
    if (workspace.byteSize() < needed) {
      throw new WorkspaceTooSmallException(
          "workspace has " + workspace.byteSize() + " bytes; the request needs " + needed);
    }
    if (workspace.address() % WORKSPACE_ALIGNMENT != 0) {
      throw new WorkspaceTooSmallException(
          "workspace is at address "
              + Long.toHexString(workspace.address())
              + "; an address aligned to 256 bytes is accepted");
    }
  }
}
