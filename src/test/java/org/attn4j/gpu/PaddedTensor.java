package org.attn4j.gpu;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.ShortBuffer;
import java.util.Random;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceTensor;
import org.attn4j.HostMemory;
import org.attn4j.HostTensor;
import org.attn4j.TensorShape;

/**
 * A 16-bit tensor of rank 4 with gaps, on host and device. Gaps and the elements behind the end
 * hold NaN (0xFFFF).
 */
final class PaddedTensor implements AutoCloseable {
  private static final short POISON = (short) 0xffff;
  private static final int CANARIES = 64;

  private final DType dtype;
  private final TensorShape shape;
  private final long offset; // elements before the first
  private final int length; // elements of the storage
  private final DeviceTensor deviceStorage;
  private final DeviceTensor deviceView;
  private final ByteBuffer hostStorage;

  PaddedTensor(DType dtype, GpuProblem.Storage storage, Random random, long... sizes) {
    this.dtype = dtype;
    int unit = storage == GpuProblem.Storage.PADDED ? 8 : 1;
    boolean gaps = storage != GpuProblem.Storage.CONTIGUOUS;
    long[] strides = new long[4];
    long stride = 1;
    for (int i = 3; i >= 0; i--) {
      strides[i] = stride;
      stride *= Math.max(sizes[i], 1);
      if (gaps) {
        stride += unit * random.nextInt(4);
        stride = (stride + unit - 1) / unit * unit;
      }
    }
    offset = gaps ? unit * (1 + random.nextInt(7)) : 0;
    shape = TensorShape.strided(sizes, strides);
    length = Math.toIntExact(offset + stride + CANARIES);
    deviceStorage = DeviceTensor.allocate(GpuTestBase.DEVICE, dtype, length);
    deviceView = DeviceTensor.view(deviceStorage.memory(), offset * 2, dtype, shape);
    hostStorage = newStorage();
  }

  private ByteBuffer newStorage() {
    ByteBuffer storage = ByteBuffer.allocateDirect(2 * length).order(ByteOrder.nativeOrder());
    ShortBuffer elements = storage.asShortBuffer();
    while (elements.hasRemaining()) {
      elements.put(POISON);
    }
    return storage;
  }

  int elements() {
    return Math.toIntExact(shape.elements());
  }

  HostTensor host() {
    return HostTensor.view(HostMemory.wrap(hostStorage), offset * 2, dtype, shape);
  }

  DeviceTensor device() {
    return deviceView;
  }

  private HostTensor storage() {
    return HostTensor.view(HostMemory.wrap(hostStorage), 0, dtype, TensorShape.contiguous(length));
  }

  /** Sets the elements in row-major order, on host and device. */
  void fill(float[] values) {
    HostTensor view = host();
    int channels = (int) shape.size(3);
    float[] row = new float[channels];
    int at = 0;
    for (long a = 0; a < shape.size(0); a++) {
      for (long b = 0; b < shape.size(1); b++) {
        for (long c = 0; c < shape.size(2); c++) {
          System.arraycopy(values, at, row, 0, channels);
          at += channels;
          view.write(
              a * shape.stride(0) + b * shape.stride(1) + c * shape.stride(2), 1, channels, row);
        }
      }
    }
    CudaStream stream = CudaStream.defaultStream(GpuTestBase.DEVICE);
    deviceStorage.copyFrom(storage(), stream);
    stream.synchronize();
  }

  /** Enqueues 0xFF over the whole storage. */
  void poison(CudaStream stream) {
    deviceStorage.memory().fill(0xff, stream);
  }

  /** The device's elements, in a host view of the same strides. */
  HostTensor download(CudaStream stream) {
    deviceStorage.copyTo(storage(), stream);
    stream.synchronize();
    return host();
  }

  /** After a download: whatever lies between and behind the elements is still poison. */
  void assertGapsUntouched() {
    boolean[] used = new boolean[length];
    for (long a = 0; a < shape.size(0); a++) {
      for (long b = 0; b < shape.size(1); b++) {
        for (long c = 0; c < shape.size(2); c++) {
          long row = offset + a * shape.stride(0) + b * shape.stride(1) + c * shape.stride(2);
          for (long d = 0; d < shape.size(3); d++) {
            used[(int) (row + d)] = true;
          }
        }
      }
    }
    for (int i = 0; i < length; i++) {
      if (!used[i] && hostStorage.getShort(2 * i) != POISON) {
        throw new AssertionError("the gap at element " + i + " of " + shape + " was written");
      }
    }
  }

  @Override
  public void close() {
    deviceStorage.close();
  }
}
