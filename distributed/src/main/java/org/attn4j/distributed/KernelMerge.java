package org.attn4j.distributed;

import org.attn4j.AttentionState;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceTensor;
import org.attn4j.TensorLayout;
import org.attn4j.TensorShape;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.cuda.CUDAStream;
import org.bytedeco.pytorch.global.torch_cuda;

/**
 * Adds a partial result on a GPU with one kernel, on PyTorch's current stream. Outputs are (rows,
 * batch, heads, headDim), log-sum-exps (batch, heads, rows), as in {@link Partials}.
 */
final class KernelMerge {
  private final int device;

  KernelMerge(int cudaDevice) {
    this.device = cudaDevice;
  }

  /**
   * Adds a part to the FP32 sum in place.
   *
   * @param o where the sum goes instead, in 16 bits; null unless this is the last part
   */
  void add(Tensor sum, Tensor lse, Tensor part, Tensor partLse, Tensor o) {
    AttentionState accumulator = state(sum, lse);
    AttentionState added = state(part, partLse);
    try (CUDAStream current = torch_cuda.getCurrentCUDAStream((byte) device);
        CudaStream stream = CudaStream.wrap(device, current.stream())) {
      if (o == null) {
        accumulator.add(added, TensorLayout.NHD, stream);
      } else {
        accumulator.addTo(state(o, null), added, TensorLayout.NHD, stream);
      }
    }
  }

  private AttentionState state(Tensor o, Tensor lse) {
    long[] sizes = {o.size(1), o.size(0), o.size(2), o.size(3)};
    long[] strides = {o.stride(1), o.stride(0), o.stride(2), o.stride(3)};
    return new AttentionState(
        tensor(o, sizes, strides), lse == null ? null : tensor(lse, lse.shape(), strides(lse)));
  }

  private static long[] strides(Tensor tensor) {
    return new long[] {tensor.stride(0), tensor.stride(1), tensor.stride(2)};
  }

  private DeviceTensor tensor(Tensor tensor, long[] sizes, long[] strides) {
    DType type = Tensors.type(tensor);
    TensorShape shape = TensorShape.strided(sizes, strides);
    return DeviceTensor.wrap(device, tensor.data_ptr().address(), type, shape);
  }
}
