package org.attn4j;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertThrows;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import org.testng.annotations.Test;

/** Shapes, views, bounds, elements and lifetimes of tensors. */
public class TensorTest {
  private static String messageOf(org.testng.Assert.ThrowingRunnable action) {
    return expectThrows(InvalidAttentionArgumentException.class, action).getMessage();
  }

  @Test
  public void contiguousStrides() {
    TensorShape shape = TensorShape.contiguous(2, 3, 5, 7);
    assertEquals(shape.strides(), new long[] {105, 35, 7, 1});
    assertEquals(shape.elements(), 210);
    assertEquals(shape.maxOffset(), 209);
    assertTrue(shape.isContiguous());
    assertEquals(shape.toString(), "[2, 3, 5, 7]");
  }

  @Test
  public void permutedShapeIsNotContiguous() {
    TensorShape shape = TensorShape.contiguous(2, 3, 5).permute(1, 0, 2);
    assertEquals(shape, TensorShape.strided(new long[] {3, 2, 5}, new long[] {5, 15, 1}));
    assertFalse(shape.isContiguous());
    assertTrue(TensorShape.strided(new long[] {1, 4}, new long[] {99, 1}).isContiguous());
  }

  @Test
  public void badShapes() {
    assertEquals(
        messageOf(() -> TensorShape.contiguous(2, -3)),
        "sizes[1] is -3; sizes must not be negative");
    assertEquals(
        messageOf(() -> TensorShape.contiguous()), "sizes has 0 entries; 1 to 8 are accepted");
    assertEquals(
        messageOf(() -> TensorShape.contiguous((long[]) null)),
        "sizes is null; 1 to 8 sizes are needed");
    assertEquals(
        messageOf(() -> TensorShape.strided(new long[] {2, 2}, new long[] {1})),
        "strides has 1 entries and sizes has 2; they must agree");
    assertEquals(
        messageOf(() -> TensorShape.contiguous(1L << 40, 1L << 40)),
        "sizes [1099511627776, 1099511627776] reach beyond 64-bit offsets");
    assertEquals(
        messageOf(() -> TensorShape.contiguous(2, 2).permute(0, 0)),
        "order is [0, 0]; a permutation of 0..1 is needed");
  }

  @Test
  public void viewsMustStayInsideTheMemory() {
    HostMemory memory = HostMemory.allocate(100);
    HostTensor.view(memory, 20, DType.FLOAT16, TensorShape.contiguous(40));
    assertEquals(
        messageOf(() -> HostTensor.view(memory, 20, DType.FLOAT16, TensorShape.contiguous(41))),
        "the view [41] of FLOAT16 at byte 20 reaches elements 10 to 50; the memory holds 50");
    assertEquals(
        messageOf(() -> HostTensor.view(memory, 1, DType.FLOAT16, TensorShape.contiguous(1))),
        "byteOffset is 1; a multiple of the element size 2 from 0 is accepted");
    TensorShape backwards = TensorShape.strided(new long[] {5}, new long[] {-1});
    HostTensor.view(memory, 8, DType.FLOAT16, backwards);
    assertThrows(
        InvalidAttentionArgumentException.class,
        () -> HostTensor.view(memory, 6, DType.FLOAT16, backwards));
  }

  @Test
  public void sliceSelectAndPermuteShareMemory() {
    HostTensor tensor = HostTensor.of(DType.FLOAT32, new float[] {0, 1, 2, 3, 4, 5}, 2, 3);
    assertEquals(tensor.slice(1, 1, 3).toFloatArray(), new float[] {1, 2, 4, 5});
    assertEquals(tensor.select(0, 1).toFloatArray(), new float[] {3, 4, 5});
    assertEquals(tensor.permute(1, 0).toFloatArray(), new float[] {0, 3, 1, 4, 2, 5});
    tensor.permute(1, 0).select(0, 2).set(9, 1);
    assertEquals(tensor.get(1, 2), 9f);
    assertEquals(tensor.slice(0, 2, 2).shape().elements(), 0);
    assertEquals(
        messageOf(() -> tensor.slice(1, 2, 4)), "slice is 2 to 4; dimension 1 has 3 elements");
    assertEquals(messageOf(() -> tensor.select(2, 0)), "dimension is 2; 0 to 1 are accepted");
  }

  @Test
  public void stridedCopyFrom() {
    HostTensor tensor = HostTensor.allocate(DType.BFLOAT16, 2, 4);
    tensor.slice(1, 1, 3).copyFrom(new float[] {1, 2, 3, 4});
    assertEquals(tensor.toFloatArray(), new float[] {0, 1, 2, 0, 0, 3, 4, 0});
    assertEquals(
        messageOf(() -> tensor.copyFrom(new float[7])),
        "values has 7 entries; the tensor has 8 elements");
  }

  @Test
  public void integersAreExact() {
    HostTensor lengths = HostTensor.ofInts(1, 16777217, -5);
    assertEquals(lengths.getInt(1), 16777217);
    assertEquals(
        messageOf(() -> HostTensor.allocate(DType.FLOAT32, 1).getInt(0)),
        "dtype is FLOAT32; getInt reads INT32 tensors");
  }

  @Test
  public void wrappedBufferIsRead() {
    ByteBuffer buffer = ByteBuffer.allocate(8).order(ByteOrder.nativeOrder());
    buffer.putFloat(4, 2.5f);
    buffer.position(4);
    HostTensor tensor =
        HostTensor.view(HostMemory.wrap(buffer), 0, DType.FLOAT32, TensorShape.contiguous(1));
    assertEquals(tensor.get(0), 2.5f);
  }

  @Test
  public void closedTensorsThrow() {
    HostTensor tensor = HostTensor.allocate(DType.FLOAT32, 2);
    HostTensor view = tensor.slice(0, 0, 1);
    view.close();
    assertFalse(tensor.isClosed(), "closing a view leaves the memory");
    tensor.close();
    tensor.close();
    assertTrue(view.isClosed());
    assertEquals(
        expectThrows(ClosedTensorException.class, () -> view.get(0)).getMessage(),
        "the host memory is closed; use it before close()");
  }

  @Test
  public void deviceViewsNeedNoGpu() {
    DeviceTensor tensor =
        DeviceTensor.wrap(1, 0x1000, DType.FLOAT16, TensorShape.contiguous(2, 3, 4, 8));
    assertEquals(tensor.select(0, 1).address(), 0x1000 + 2 * 96);
    assertEquals(tensor.device(), 1);
    assertEquals(tensor.toString(), "device FLOAT16 [2, 3, 4, 8]");
    assertEquals(
        messageOf(() -> DeviceTensor.wrap(0, 0, DType.FLOAT16, TensorShape.contiguous(2))),
        "address is null; the address of 4 bytes of device memory is needed");
    assertEquals(
        messageOf(() -> DeviceMemory.wrap(-1, 8, 8)),
        "device is -1; CUDA device numbers start at 0");
  }
}
