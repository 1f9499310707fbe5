package org.attn4j.distributed;

import org.attn4j.Attention;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.AttentionTensor;
import org.attn4j.CausalMask;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceMemory;
import org.attn4j.DeviceTensor;
import org.attn4j.HostMemory;
import org.attn4j.HostTensor;
import org.attn4j.TensorLayout;
import org.attn4j.TensorShape;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.cuda.CUDAStream;
import org.bytedeco.pytorch.global.torch_cuda;

/**
 * Attention of one rank, on PyTorch's memory as it lies there. Tensors here are views of sizes
 * (rows, batch, heads, headDim) with any strides but the last, which is 1.
 */
final class LocalAttention {
  private final HeadSplit split;
  private final AttentionOptions options;
  private final int cudaDevice;

  /**
   * Attention with a rank's share of the heads.
   *
   * @param cudaDevice -1: host memory
   */
  LocalAttention(HeadSplit split, AttentionOptions options, int cudaDevice) {
    this.split = split;
    this.options = options;
    this.cudaDevice = cudaDevice;
  }

  /**
   * Writes {@code o}, and {@code lse} (batch, heads, rows) if it isn't null. Does nothing if there
   * are no queries, no heads or no keys.
   *
   * @param firstHead the number, in the whole model, of q's first head
   * @param k starts with the key head that q's first head reads
   */
  void run(Tensor q, int firstHead, Tensor k, Tensor v, Tensor o, Tensor lse, CausalMask mask) {
    if (q.numel() == 0 || k.numel() == 0) {
      return;
    }
    for (HeadSplit.Call call : split.calls(firstHead, (int) q.size(2))) {
      Tensor lseOfCall = lse == null ? null : lseOf(lse, call);
      run(
          q.narrow(2, call.head(), call.heads()),
          k.narrow(2, call.kvHead(), call.kvHeads()),
          v.narrow(2, call.kvHead(), call.kvHeads()),
          o.narrow(2, call.head(), call.heads()),
          lseOfCall,
          mask);
      if (lse != null && lseOfCall != lse) {
        lse.narrow(1, call.head(), call.heads()).copy_(lseOfCall);
      }
    }
  }

  /** Where a call writes its log-sum-exp, which has to be contiguous. */
  private Tensor lseOf(Tensor lse, HeadSplit.Call call) {
    return call.heads() == lse.size(1)
        ? lse
        : Tensors.empty(DType.FLOAT32, cudaDevice, lse.size(0), call.heads(), lse.size(2));
  }

  private void run(Tensor q, Tensor k, Tensor v, Tensor o, Tensor lse, CausalMask mask) {
    AttentionRequest.Builder builder =
        AttentionRequest.builder()
            .q(wrap(q))
            .k(wrap(k))
            .v(wrap(v))
            .o(wrap(o))
            .lse(lse == null ? null : wrap(lse, DType.FLOAT32, TensorShape.contiguous(lse.shape())))
            .options(options.toBuilder().layout(TensorLayout.NHD).causalMask(mask).build());
    if (cudaDevice < 0) {
      Attention.sdpa(builder.build());
      return;
    }
    try (CUDAStream current = torch_cuda.getCurrentCUDAStream((byte) cudaDevice);
        CudaStream stream = CudaStream.wrap(cudaDevice, current.stream())) {
      enqueue(builder.stream(stream).build());
    }
  }

  /** With scratch memory of PyTorch's allocator, which hands it on in the order of the stream. */
  private void enqueue(AttentionRequest request) {
    long bytes = Attention.workspaceSize(request);
    if (bytes == 0) {
      Attention.sdpa(request);
      return;
    }
    try (Tensor scratch = Tensors.bytes(bytes, cudaDevice)) {
      long address = scratch.data_ptr().address();
      Attention.sdpa(request.withWorkspace(DeviceMemory.wrap(cudaDevice, address, bytes)));
    }
  }

  private AttentionTensor wrap(Tensor view) {
    long[] sizes = {view.size(1), view.size(0), view.size(2), view.size(3)};
    long[] strides = {view.stride(1), view.stride(0), view.stride(2), view.stride(3)};
    return wrap(view, Tensors.type(view), TensorShape.strided(sizes, strides));
  }

  private AttentionTensor wrap(Tensor tensor, DType type, TensorShape shape) {
    if (cudaDevice >= 0) {
      return DeviceTensor.wrap(cudaDevice, tensor.data_ptr().address(), type, shape);
    }
    long bytes = (shape.maxOffset() + 1) * type.byteSize();
    BytePointer data = new BytePointer(tensor.data_ptr()).capacity(bytes);
    return HostTensor.view(HostMemory.wrap(data.asByteBuffer()), 0, type, shape);
  }
}
