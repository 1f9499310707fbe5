package org.attn4j;

import java.util.List;
import org.attn4j.backend.BackendChain;
import org.attn4j.backend.Plan;

/**
 * Scaled dot-product attention with the best backend that serves the request: the one entry of this
 * library.
 *
 * <pre>{@code
 * try (var q = DeviceTensor.of(0, DType.FLOAT16, values, 1, 8, 4096, 128);
 *     ...
 *     var o = DeviceTensor.allocate(0, DType.FLOAT16, 1, 8, 4096, 128)) {
 *   Attention.sdpa(AttentionRequest.builder().q(q).k(k).v(v).o(o).build());
 * }
 * }</pre>
 *
 * <p>Calls on device tensors enqueue their kernels and return; calls on host tensors return when
 * the output is written. All methods may be called from any thread.
 */
public final class Attention {
  private Attention() {}

  /**
   * Runs a request with the first backend of the chain that supports it.
   *
   * @param request the request
   * @throws InvalidAttentionArgumentException if the request is null or its workspace too small
   * @throws ClosedTensorException if memory of the request was closed
   * @throws UnsupportedAttentionException if no backend serves it; with each backend's reason
   * @throws CudaException if a kernel could not be enqueued
   */
  public static void sdpa(AttentionRequest request) {
    requireRequest(request);
    request.requireOpen();
    request.plan(BackendChain.ofThisProcess().run(request, request.plan()));
  }

  /**
   * {@return attention into a fresh contiguous tensor of q's sizes and type, on the legacy default
   * stream} The caller closes it.
   *
   * @param q the queries
   * @param k the keys
   * @param v the values, of the sizes of k
   * @param options how to compute it
   * @throws RuntimeException as {@link #sdpa(AttentionRequest)}
   */
  public static AttentionTensor sdpa(
      AttentionTensor q, AttentionTensor k, AttentionTensor v, AttentionOptions options) {
    AttentionTensor o = allocateLike(q);
    try {
      sdpa(AttentionRequest.builder().q(q).k(k).v(v).o(o).options(options).build());
      return o;
    } catch (RuntimeException e) {
      o.close();
      throw e;
    }
  }

  /**
   * As {@link #sdpa(AttentionTensor, AttentionTensor, AttentionTensor, AttentionOptions)}, with the
   * log-sum-exp.
   *
   * @param q the queries
   * @param k the keys
   * @param v the values, of the sizes of k
   * @param options how to compute it
   * @return output and log-sum-exp; the caller closes both
   */
  public static AttentionResult sdpaWithLse(
      AttentionTensor q, AttentionTensor k, AttentionTensor v, AttentionOptions options) {
    AttentionTensor o = allocateLike(q);
    AttentionTensor lse = null;
    try {
      lse = allocateLse(q, options);
      sdpa(AttentionRequest.builder().q(q).k(k).v(v).o(o).lse(lse).options(options).build());
      return new AttentionResult(o, lse);
    } catch (RuntimeException e) {
      o.close();
      if (lse != null) {
        lse.close();
      }
      throw e;
    }
  }

  /**
   * {@return the bytes of scratch memory that a request needs with the backend that serves it; 0
   * for host tensors}
   *
   * @param request the request
   */
  public static long workspaceSize(AttentionRequest request) {
    requireRequest(request);
    request.requireOpen();
    Plan plan = request.plan();
    if (plan == null) {
      plan = BackendChain.ofThisProcess().plan(request);
      request.plan(plan);
    }
    return BackendChain.ofThisProcess().workspaceBytes(request, plan);
  }

  /**
   * {@return what every backend answers to a request, in the order of the chain; the first that
   * serves would run it}
   *
   * @param request the request
   */
  public static List<BackendVerdict> explain(AttentionRequest request) {
    requireRequest(request);
    request.requireOpen();
    return BackendChain.ofThisProcess().explain(request);
  }

  /**
   * {@return the backends of this version, each with whether it can be used in this process and
   * why}
   */
  public static List<BackendInfo> backends() {
    return BackendChain.ofThisProcess().backends();
  }

  /**
   * {@return how the sparge backend divides a request into blocks: the sizes of block masks and
   * maps}
   *
   * @param request the request
   * @throws UnsupportedAttentionException if it can't serve the request
   */
  public static BlockGrid blockGrid(AttentionRequest request) {
    requireRequest(request);
    request.requireOpen();
    return BackendChain.ofThisProcess().blockGrid(request);
  }

  private static void requireRequest(AttentionRequest request) {
    if (request == null) {
      throw new InvalidAttentionArgumentException(
          "request is null; AttentionRequest.builder() makes one");
    }
  }

  private static AttentionTensor allocateLike(AttentionTensor q) {
    checkQ(q);
    return allocate(q, q.dtype(), q.shape().sizes());
  }

  private static AttentionTensor allocateLse(AttentionTensor q, AttentionOptions options) {
    if (options == null) {
      throw new InvalidAttentionArgumentException(
          "options is null; AttentionOptions.DEFAULTS or options of your own are needed");
    }
    TensorLayout layout = options.layout();
    long heads = q.size(layout.headDimension());
    return allocate(q, DType.FLOAT32, q.size(0), heads, q.size(layout.sequenceDimension()));
  }

  private static void checkQ(AttentionTensor q) {
    if (q == null) {
      throw new InvalidAttentionArgumentException("q is null; a tensor of rank 4 is needed");
    }
    if (q.shape().rank() != 4) {
      throw new InvalidAttentionArgumentException(
          "q has rank " + q.shape().rank() + "; rank 4 is accepted");
    }
  }

  private static AttentionTensor allocate(AttentionTensor like, DType dtype, long... sizes) {
    return like instanceof DeviceTensor device
        ? DeviceTensor.allocate(device.device(), dtype, sizes)
        : HostTensor.allocate(dtype, sizes);
  }
}
