package org.attn4j.pytorch;

import org.attn4j.AttentionMask;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceMemory;
import org.attn4j.DeviceTensor;
import org.attn4j.HostMemory;
import org.attn4j.HostTensor;
import org.attn4j.SparsityTensors;
import org.attn4j.TensorLayout;
import org.attn4j.TensorShape;
import org.attn4j.backend.BackendChain;
import org.attn4j.backend.Plan;
import org.bytedeco.javacpp.BytePointer;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.DeviceType;
import org.bytedeco.pytorch.global.torch.ScalarType;

/**
 * A call put as a request over PyTorch's own memory: nothing is copied, the output and the scratch
 * memory come from PyTorch's allocator, and the kernels go to PyTorch's current stream.
 */
final class Kernels {
  private static final int MAX_DEVICES = 64;
  private static final TensorOptions[] SCRATCH_OPTIONS = new TensorOptions[MAX_DEVICES];

  private final Tensor output;
  private final AttentionRequest request;

  private Kernels(Tensor output, AttentionRequest request) {
    this.output = output;
    this.request = request;
  }

  /** The request, without scratch memory. */
  AttentionRequest request() {
    return request;
  }

  /** The output: written by {@link #run}. The caller owns it. */
  Tensor output() {
    return output;
  }

  /** Allocates the output and builds the request of a call that has no obstacle. */
  static Kernels prepare(SdpaCall call, Geometry shapes, MaskFinding mask) {
    Sizes sizes = shapes.sizes();
    Tensor output = allocate(call, shapes);
    try {
      Operand o = Operand.of(output, call.packing(), call.heads());
      Wrapper wrapper = Wrapper.of(call.query());
      AttentionRequest.Builder request =
          AttentionRequest.builder()
              .q(wrapper.wrap(shapes.q(), sizes.batch(), sizes.heads()))
              .k(wrapper.wrap(shapes.k(), sizes.batch(), sizes.headsKv()))
              .v(wrapper.wrap(shapes.v(), sizes.batch(), sizes.headsKv()))
              .o(wrapper.wrap(o, sizes.batch(), sizes.heads()))
              .options(hnd(call.options()))
              .stream(wrapper.stream());
      if (mask.keyLengths() != null) {
        request.kvLengths(wrapper.wrapLengths(mask.keyLengths()));
      }
      if (mask.dense() != null) {
        request.mask(wrapper.wrapMask(mask.dense(), Masks.shape(call, mask.dense())));
      }
      if (call.sparsity() != null && wrapper.cuda()) { // elsewhere nobody prunes
        request.sparsityTensors(wrapper.wrap(call.sparsity()));
      }
      return new Kernels(output, request.build());
    } catch (RuntimeException e) {
      output.close();
      throw e;
    }
  }

  /** Operands are (batch, head, sequence, channel) whatever the packing. */
  private static AttentionOptions hnd(AttentionOptions options) {
    return options.layout() == TensorLayout.HND
        ? options
        : options.toBuilder().layout(TensorLayout.HND).build();
  }

  private static Tensor allocate(SdpaCall call, Geometry shapes) {
    Operand q = shapes.q();
    Sizes sizes = shapes.sizes();
    if (q.batch() == sizes.batch() && q.heads() == sizes.heads()) {
      // In the order of query's dimensions in memory, as PyTorch's fused kernels do it.
      Tensor output = torch.empty_like(call.query());
      if (output.size(-1) == 1 || output.stride(-1) == 1) {
        return output;
      }
      output.close();
    }
    long[] shape =
        Operand.sizes(call.packing(), sizes.batch(), sizes.heads(), q.length(), q.headDim());
    try (TensorOptions like = call.query().options()) {
      return torch.empty(shape, like, null);
    }
  }

  /** Enqueues the request, or runs it on the CPU. */
  void run(BackendChain chain, Plan plan) {
    long bytes = plan.workspaceBytes();
    if (bytes == 0) {
      chain.run(request, plan);
      return;
    }
    int device = request.stream().device();
    // Given back to PyTorch's allocator as soon as the kernels are enqueued: it hands the memory
    // out again on this stream alone, after them. During a capture it comes from the graph's pool.
    try (Tensor scratch = torch.empty(new long[] {bytes}, scratchOptions(device), null)) {
      DeviceMemory memory = DeviceMemory.wrap(device, scratch.data_ptr().address(), bytes);
      chain.run(request.withWorkspace(memory), plan);
    }
  }

  @SuppressWarnings("try") // the scope is there to be closed
  private static TensorOptions scratchOptions(int device) {
    synchronized (SCRATCH_OPTIONS) {
      if (SCRATCH_OPTIONS[device] == null) {
        try (PointerScope temporaries = new PointerScope()) {
          SCRATCH_OPTIONS[device] =
              new TensorOptions()
                  .dtype(new ScalarTypeOptional(ScalarType.Byte))
                  .device(new DeviceOptional(new Device(DeviceType.CUDA, (byte) device)))
                  .retainReference();
        }
      }
      return SCRATCH_OPTIONS[device];
    }
  }

  /** Makes our tensors over PyTorch's. */
  private record Wrapper(boolean cuda, int device, DType dtype, CudaStream stream) {
    static Wrapper of(Tensor query) {
      boolean cuda = query.is_cuda();
      int device = cuda ? TorchCuda.device(query) : -1;
      CudaStream stream = cuda ? TorchCuda.currentStream(device) : null;
      return new Wrapper(cuda, device, dtype(query), stream);
    }

    private static DType dtype(Tensor tensor) {
      byte type = tensor.scalar_type().value;
      if (type == ScalarType.Half.value) {
        return DType.FLOAT16;
      }
      return type == ScalarType.BFloat16.value ? DType.BFLOAT16 : DType.FLOAT32;
    }

    org.attn4j.AttentionTensor wrap(Operand operand, long batch, long heads) {
      return wrap(operand.tensor(), dtype, operand.expanded(batch, heads));
    }

    org.attn4j.AttentionTensor wrapLengths(Tensor lengths) {
      return wrap(lengths, DType.INT32, TensorShape.contiguous(lengths.size(0)));
    }

    AttentionMask wrapMask(Tensor mask, TensorShape shape) {
      return mask.scalar_type().value == ScalarType.Bool.value
          ? AttentionMask.pairs(wrap(mask, DType.INT8, shape))
          : AttentionMask.bias(wrap(mask, dtype(mask), shape));
    }

    SparsityTensors wrap(TorchSparsity sparsity) {
      return SparsityTensors.builder()
          .simthreshd1(wrapContiguous(sparsity.simthreshd1(), DType.FLOAT32))
          .cdfthreshd(wrapContiguous(sparsity.cdfthreshd(), DType.FLOAT32))
          .topk(wrapContiguous(sparsity.topk(), DType.FLOAT32))
          .pvthreshd(wrapContiguous(sparsity.pvthreshd(), DType.FLOAT32))
          .blockMask(wrapContiguous(sparsity.blockMask(), DType.INT8))
          .blockMap(wrapContiguous(sparsity.blockMap(), DType.INT8))
          .sparsity(wrapContiguous(sparsity.sparsity(), DType.FLOAT32))
          .build();
    }

    private DeviceTensor wrapContiguous(Tensor tensor, DType type) {
      if (tensor == null) {
        return null;
      }
      TensorShape shape = TensorShape.contiguous(tensor.shape());
      return DeviceTensor.wrap(device, tensor.data_ptr().address(), type, shape);
    }

    private org.attn4j.AttentionTensor wrap(Tensor tensor, DType type, TensorShape shape) {
      Pointer data = tensor.data_ptr();
      if (cuda) {
        return DeviceTensor.wrap(device, data.address(), type, shape);
      }
      long bytes = (shape.maxOffset() + 1) * type.byteSize();
      HostMemory memory = HostMemory.wrap(new BytePointer(data).capacity(bytes).asByteBuffer());
      return HostTensor.view(memory, 0, type, shape);
    }
  }
}
