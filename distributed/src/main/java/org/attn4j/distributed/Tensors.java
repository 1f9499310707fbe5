package org.attn4j.distributed;

import java.util.function.Supplier;
import org.attn4j.DType;
import org.attn4j.InvalidAttentionArgumentException;
import org.bytedeco.javacpp.Pointer;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.MemoryFormatOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.DeviceType;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** What this package asks of PyTorch's tensors. */
final class Tensors {
  private Tensors() {}

  /** Keeps an object beyond the PointerScope that it was made in; close() frees it. */
  static <P extends Pointer> P keep(P pointer) {
    pointer.retainReference();
    return pointer;
  }

  /**
   * Leaves an object to C++, which has adopted it: neither the garbage collector nor a scope frees
   * it. The reference is for the scope, which would free it even so.
   */
  static void givenAway(Pointer pointer) {
    pointer.retainReference();
    pointer.deallocate(false);
  }

  /**
   * Runs {@code work} with a scope of its own. Its result leaves the scope and belongs to the
   * caller's, or to none.
   */
  static Tensor scoped(Supplier<Tensor> work) {
    Tensor inside;
    PointerScope temporaries = new PointerScope();
    try {
      inside = keep(work.get());
    } finally {
      temporaries.close();
    }
    Tensor result = new Tensor(inside);
    inside.close();
    return result;
  }

  /** A number as PyTorch's functions take it. */
  static Scalar scalar(double value) {
    return new Scalar(value);
  }

  /** PyTorch's name of a type. */
  static ScalarType scalarType(DType type) {
    return switch (type) {
      case FLOAT16 -> ScalarType.Half;
      case BFLOAT16 -> ScalarType.BFloat16;
      case FLOAT32 -> ScalarType.Float;
      case INT32 -> ScalarType.Int;
      case INT8 -> ScalarType.Char;
    };
  }

  /** Our name of a tensor's type. Enums that come from C++ are not singletons. */
  static DType type(Tensor tensor) {
    byte value = tensor.scalar_type().value;
    for (DType type : new DType[] {DType.FLOAT16, DType.BFLOAT16, DType.FLOAT32}) {
      if (scalarType(type).value == value) {
        return type;
      }
    }
    throw new InvalidAttentionArgumentException(
        "the tensor's type is "
            + tensor.scalar_type().intern()
            + "; Half, BFloat16 and Float are accepted");
  }

  /** A tensor with undefined contents; {@code cudaDevice} -1 is host memory. */
  @SuppressWarnings("try") // the scope is there to be closed
  static Tensor empty(DType type, int cudaDevice, long... sizes) {
    return scoped(
        () ->
            torch.empty(sizes, options(scalarType(type), cudaDevice), new MemoryFormatOptional()));
  }

  /** A one-dimensional tensor of bytes with undefined contents. */
  static Tensor bytes(long count, int cudaDevice) {
    return scoped(
        () ->
            torch.empty(
                new long[] {count},
                options(ScalarType.Byte, cudaDevice),
                new MemoryFormatOptional()));
  }

  private static TensorOptions options(ScalarType type, int cudaDevice) {
    Device device =
        cudaDevice < 0
            ? new Device(DeviceType.CPU)
            : new Device(DeviceType.CUDA, (byte) cudaDevice);
    return new TensorOptions()
        .dtype(new ScalarTypeOptional(type))
        .device(new DeviceOptional(device));
  }
}
