package org.attn4j.gpu;

import static org.testng.Assert.assertTrue;

import java.util.Random;
import org.attn4j.Attention;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.CudaException;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceMemory;
import org.attn4j.DeviceTensor;
import org.attn4j.HostTensor;
import org.attn4j.TensorLayout;
import org.attn4j.TensorShape;
import org.attn4j.testing.Gaussian;
import org.testng.SkipException;
import org.testng.annotations.Test;

/**
 * Views give what contiguous copies of them give, bit for bit: the arithmetic doesn't depend on
 * where elements lie.
 */
@Test(groups = "gpu")
public class GpuViewsTest extends GpuTestBase {
  private static final int B = 2;
  private static final int S = 200;
  private static final int H = 4;
  private static final int D = 64;

  /** (b, s, h, d) outputs of views and of contiguous copies. */
  private static void assertSame(
      GpuKernel kernel, DeviceTensor q, DeviceTensor k, DeviceTensor v, CudaStream stream) {
    float[] ofViews = run(kernel, q, k, v, stream);
    try (DeviceTensor q2 = copy(q, stream);
        DeviceTensor k2 = copy(k, stream);
        DeviceTensor v2 = copy(v, stream)) {
      GpuProblem.assertBitwiseEqual(ofViews, run(kernel, q2, k2, v2, stream), "views");
    }
  }

  private static DeviceTensor copy(DeviceTensor tensor, CudaStream stream) {
    return DeviceTensor.copyOf(tensor.toHost(stream), DEVICE);
  }

  private static float[] run(
      GpuKernel kernel, DeviceTensor q, DeviceTensor k, DeviceTensor v, CudaStream stream) {
    AttentionOptions options = kernel.options().layout(TensorLayout.NHD).build();
    try (DeviceTensor o = DeviceTensor.allocate(DEVICE, q.dtype(), q.shape().sizes())) {
      o.memory().fill(0xff, stream);
      Attention.sdpa(
          AttentionRequest.builder().q(q).k(k).v(v).o(o).options(options).stream(stream).build());
      return o.toFloatArray(stream);
    }
  }

  private static DeviceTensor random(int seed, DType dtype, long... sizes) {
    return DeviceTensor.copyOf(Gaussian.tensor(new Random(seed), dtype, sizes), DEVICE);
  }

  @Test(dataProvider = "kernels")
  public void fusedQkv(GpuKernel kernel) {
    try (CudaStream stream = CudaStream.create(DEVICE);
        DeviceTensor packed = random(1, DType.FLOAT16, B, S, 3, H, D)) {
      assertSame(kernel, packed.select(2, 0), packed.select(2, 1), packed.select(2, 2), stream);
    }
  }

  @Test(dataProvider = "kernels")
  public void fusedQkvWithOutputInTheSameBuffer(GpuKernel kernel) {
    AttentionOptions options = kernel.options().layout(TensorLayout.NHD).build();
    try (CudaStream stream = CudaStream.create(DEVICE);
        DeviceTensor packed = random(2, DType.BFLOAT16, B, S, 4, H, D)) {
      DeviceTensor q = packed.select(2, 0);
      DeviceTensor k = packed.select(2, 1);
      DeviceTensor v = packed.select(2, 2);
      float[] expected = run(kernel, q, k, v, stream);
      DeviceTensor o = packed.select(2, 3);
      Attention.sdpa(
          AttentionRequest.builder().q(q).k(k).v(v).o(o).options(options).stream(stream).build());
      GpuProblem.assertBitwiseEqual(o.toFloatArray(stream), expected, "output");
      GpuProblem.assertBitwiseEqual(run(kernel, q, k, v, stream), expected, "after it");
    }
  }

  @Test(dataProvider = "kernels")
  public void slicedSequencesAndHeads(GpuKernel kernel) {
    try (CudaStream stream = CudaStream.create(DEVICE);
        DeviceTensor all = random(3, DType.FLOAT16, B, S + 9, H + 2, D)) {
      DeviceTensor view = all.slice(1, 5, 5 + S).slice(2, 1, 1 + H);
      assertSame(
          kernel,
          view,
          all.slice(1, 0, 77).slice(2, 2, 4),
          all.slice(1, 9, 86).slice(2, 0, 2),
          stream);
    }
  }

  @Test(dataProvider = "kernels")
  public void slicedChannelsOfAnyAlignment(GpuKernel kernel) {
    try (CudaStream stream = CudaStream.create(DEVICE);
        DeviceTensor all = random(4, DType.FLOAT16, B, S, H, D + 7)) {
      assertSame(
          kernel, all.slice(3, 1, 1 + D), all.slice(3, 3, 3 + D), all.slice(3, 7, 7 + D), stream);
      assertSame(kernel, all.slice(3, 2, 35), all.slice(3, 0, 33), all.slice(3, 5, 38), stream);
    }
  }

  @Test(dataProvider = "kernels")
  public void oneOffElementOfStorage(GpuKernel kernel) {
    TensorShape shape = TensorShape.contiguous(B, S, H, D);
    try (CudaStream stream = CudaStream.create(DEVICE);
        DeviceTensor storage = random(5, DType.BFLOAT16, shape.elements() + 8)) {
      for (int element = 1; element < 8; element += 3) {
        DeviceTensor view =
            DeviceTensor.view(storage.memory(), 2L * element, DType.BFLOAT16, shape);
        assertSame(kernel, view, view, view, stream);
      }
    }
  }

  @Test(dataProvider = "kernels")
  public void broadcastKeysAndValues(GpuKernel kernel) {
    try (CudaStream stream = CudaStream.create(DEVICE);
        DeviceTensor q = random(6, DType.FLOAT16, B, S, H, D);
        DeviceTensor kv = random(7, DType.FLOAT16, 1, S, 1, D)) {
      TensorShape expanded = TensorShape.strided(new long[] {B, S, H, D}, new long[] {0, D, 0, 1});
      DeviceTensor view = DeviceTensor.view(kv.memory(), 0, DType.FLOAT16, expanded);
      assertSame(kernel, q, view, view, stream);
    }
  }

  @Test(dataProvider = "kernels")
  public void layoutsAgree(GpuKernel kernel) {
    try (CudaStream stream = CudaStream.create(DEVICE);
        DeviceTensor q = random(8, DType.FLOAT16, B, S, H, D);
        DeviceTensor k = random(9, DType.FLOAT16, B, S, 2, D);
        DeviceTensor o = DeviceTensor.allocate(DEVICE, DType.FLOAT16, B, S, H, D)) {
      float[] nhd = run(kernel, q, k, k, stream);
      AttentionOptions hnd = kernel.options().layout(TensorLayout.HND).build();
      DeviceTensor kHnd = k.permute(0, 2, 1, 3);
      Attention.sdpa(
          AttentionRequest.builder()
              .q(q.permute(0, 2, 1, 3))
              .k(kHnd)
              .v(kHnd)
              .o(o.permute(0, 2, 1, 3))
              .options(hnd)
              .stream(stream)
              .build());
      GpuProblem.assertBitwiseEqual(o.toFloatArray(stream), nhd, "HND");
    }
  }

  @Test(dataProvider = "kernels")
  public void groupedHeadsEqualRepeatedHeads(GpuKernel kernel) {
    try (CudaStream stream = CudaStream.create(DEVICE);
        DeviceTensor q = random(10, DType.FLOAT16, 1, S, 8, D);
        DeviceTensor kv = random(11, DType.FLOAT16, 1, S, 2, D)) {
      float[] grouped = run(kernel, q, kv, kv, stream);
      for (int head = 0; head < 8; head++) {
        DeviceTensor one = kv.slice(2, head / 4, head / 4 + 1);
        float[] single = run(kernel, q.slice(2, head, head + 1), one, one, stream);
        for (int s = 0; s < S; s++) {
          for (int d = 0; d < D; d++) {
            assertTrue(grouped[(s * 8 + head) * D + d] == single[s * D + d]);
          }
        }
      }
    }
  }

  @Test(dataProvider = "kernels")
  public void offsetsBeyond32Bits(GpuKernel kernel) {
    long entry = (1L << 31) + 640; // elements from one batch entry to the next
    long part = (long) H * S * D;
    TensorShape shape =
        TensorShape.strided(new long[] {2, H, S, D}, new long[] {entry, S * D, D, 1});
    try (CudaStream stream = CudaStream.create(DEVICE);
        DeviceMemory memory = allocateOrSkip(2 * (entry + 4 * part))) {
      DeviceTensor[] views = new DeviceTensor[4];
      for (int i = 0; i < 4; i++) {
        views[i] = DeviceTensor.view(memory, 2 * i * part, DType.FLOAT16, shape);
      }
      float[][] expected = new float[2][];
      for (int b = 0; b < 2; b++) {
        for (int i = 0; i < 3; i++) {
          HostTensor values = Gaussian.tensor(new Random(20 + 3 * b + i), DType.FLOAT16, H, S, D);
          views[i].select(0, b).copyFrom(values, stream);
        }
        expected[b] = runHnd(kernel, views, b, stream);
      }
      run(kernel, views, stream);
      for (int b = 0; b < 2; b++) {
        float[] found = views[3].select(0, b).toFloatArray(stream);
        GpuProblem.assertBitwiseEqual(found, expected[b], "entry " + b);
      }
    }
  }

  private static DeviceMemory allocateOrSkip(long bytes) {
    try {
      return DeviceMemory.allocate(DEVICE, bytes);
    } catch (CudaException e) {
      throw new SkipException("no " + bytes + " bytes of device memory: " + e.getMessage());
    }
  }

  /** One batch entry into an output of its own. */
  private static float[] runHnd(
      GpuKernel kernel, DeviceTensor[] views, int entry, CudaStream stream) {
    try (DeviceTensor o = DeviceTensor.allocate(DEVICE, DType.FLOAT16, 1, H, S, D)) {
      run(
          kernel,
          new DeviceTensor[] {
            views[0].slice(0, entry, entry + 1),
            views[1].slice(0, entry, entry + 1),
            views[2].slice(0, entry, entry + 1),
            o
          },
          stream);
      return o.toFloatArray(stream);
    }
  }

  private static void run(GpuKernel kernel, DeviceTensor[] qkvo, CudaStream stream) {
    AttentionOptions options = kernel.options().layout(TensorLayout.HND).build();
    Attention.sdpa(
        AttentionRequest.builder()
            .q(qkvo[0])
            .k(qkvo[1])
            .v(qkvo[2])
            .o(qkvo[3])
            .options(options)
            .stream(stream)
            .build());
  }
}
