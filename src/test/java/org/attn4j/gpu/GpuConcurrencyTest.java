package org.attn4j.gpu;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertSame;
import static org.testng.Assert.expectThrows;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.attn4j.Attention;
import org.attn4j.AttentionRequest;
import org.attn4j.CausalMask;
import org.attn4j.CudaGraph;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceMemory;
import org.attn4j.DeviceTensor;
import org.attn4j.TensorShape;
import org.attn4j.WorkspaceTooSmallException;
import org.testng.annotations.Test;

/** Streams, host threads and CUDA graphs: results stay those of one quiet call, bit for bit. */
@Test(groups = "gpu")
public class GpuConcurrencyTest extends GpuTestBase {
  private static final int REPEATS = 20;

  private static GpuProblem problem(GpuKernel kernel, int index) {
    GpuProblem.Spec spec = new GpuProblem.Spec();
    spec.dtype = index % 2 == 0 ? DType.FLOAT16 : DType.BFLOAT16;
    spec.batch = 1;
    spec.headsQ = 8;
    spec.headsKv = 4;
    spec.lq = 500 + 100 * index;
    spec.lk = 900 - 50 * index;
    spec.headDim = index % 2 == 0 ? 64 : 128;
    spec.options =
        kernel.options().causalMask(index % 3 == 0 ? CausalMask.NONE : CausalMask.TOP_LEFT).build();
    return new GpuProblem(spec, new Random(SEED + index));
  }

  private static float[] quietCall(GpuProblem problem) {
    try (CudaStream stream = CudaStream.create(DEVICE)) {
      Attention.sdpa(problem.request().stream(stream).build());
      return problem.output(stream);
    }
  }

  @Test(dataProvider = "kernels")
  public void twoStreamsAtOnce(GpuKernel kernel) {
    try (GpuProblem a = problem(kernel, 0);
        GpuProblem b = problem(kernel, 1);
        CudaStream streamA = CudaStream.create(DEVICE);
        CudaStream streamB = CudaStream.create(DEVICE)) {
      float[] expectedA = quietCall(a);
      float[] expectedB = quietCall(b);
      AttentionRequest requestA = a.request().stream(streamA).build();
      AttentionRequest requestB = b.request().stream(streamB).build();
      a.poison(streamA, Attention.workspaceSize(requestA));
      b.poison(streamB, Attention.workspaceSize(requestB));
      for (int i = 0; i < REPEATS; i++) {
        Attention.sdpa(requestA);
        Attention.sdpa(requestB);
      }
      GpuProblem.assertBitwiseEqual(a.output(streamA), expectedA, "output");
      GpuProblem.assertBitwiseEqual(b.output(streamB), expectedB, "output");
    }
  }

  @Test(dataProvider = "kernels")
  public void manyThreadsWithAStreamEach(GpuKernel kernel) throws Exception {
    threads(kernel, false);
  }

  @Test(dataProvider = "kernels")
  public void manyThreadsOnOneStream(GpuKernel kernel) throws Exception {
    threads(kernel, true);
  }

  private static void threads(GpuKernel kernel, boolean shared) throws Exception {
    int count = 6;
    ExecutorService pool = Executors.newFixedThreadPool(count);
    try (CudaStream common = CudaStream.create(DEVICE)) {
      List<Future<Void>> futures = new ArrayList<>();
      for (int n = 0; n < count; n++) {
        int index = n;
        futures.add(
            pool.submit(
                () -> {
                  try (GpuProblem problem = problem(kernel, index);
                      CudaStream own = CudaStream.create(DEVICE)) {
                    float[] expected = quietCall(problem);
                    CudaStream stream = shared ? common : own;
                    AttentionRequest request = problem.request().stream(stream).build();
                    for (int i = 0; i < REPEATS; i++) {
                      problem.o.poison(stream);
                      Attention.sdpa(request);
                    }
                    GpuProblem.assertBitwiseEqual(problem.output(stream), expected, "output");
                  }
                  return null;
                }));
      }
      for (Future<Void> future : futures) {
        future.get();
      }
    } finally {
      pool.shutdown();
    }
  }

  @Test(dataProvider = "kernels")
  public void graphReplaysWithChangedInputs(GpuKernel kernel) {
    try (GpuProblem problem = problem(kernel, 2);
        CudaStream stream = CudaStream.create(DEVICE)) {
      AttentionRequest request = problem.request().stream(stream).build();
      Attention.sdpa(request); // sizes the workspace
      try (CudaGraph graph = CudaGraph.capture(stream, () -> Attention.sdpa(request))) {
        for (int round = 0; round < 3; round++) {
          problem.fill(new Random(SEED + 100 + round));
          float[] expected = quietCall(problem);
          problem.o.poison(stream);
          graph.launch(stream);
          Attention.sdpa(request); // has a workspace of its own again: it can't disturb the graph
          problem.o.poison(stream);
          graph.launch(stream);
          GpuProblem.assertBitwiseEqual(problem.output(stream), expected, "round " + round);
        }
      }
      // The graph took its workspace with it; a second capture works all the same.
      try (CudaGraph again = CudaGraph.capture(stream, () -> Attention.sdpa(request))) {
        float[] expected = quietCall(problem);
        problem.o.poison(stream);
        again.launch(stream);
        GpuProblem.assertBitwiseEqual(problem.output(stream), expected, "output");
      }
    }
  }

  @Test
  public void captureThatWouldAllocateIsRefusedAndLeavesTheStreamUsable() {
    try (GpuProblem problem = problem(GpuKernel.INT8_FP16, 3);
        CudaStream stream = CudaStream.create(DEVICE)) {
      AttentionRequest request = problem.request().stream(stream).build();
      long bytes = Attention.workspaceSize(request);
      String message =
          expectThrows(
                  WorkspaceTooSmallException.class,
                  () -> CudaGraph.capture(stream, () -> Attention.sdpa(request)))
              .getMessage();
      assertEquals(
          message,
          "the stream's workspace has 0 bytes and the request needs "
              + bytes
              + "; memory can't be allocated during a capture: call once before it, or call"
              + " workspace(bytes)");
      float[] expected = quietCall(problem);
      problem.o.poison(stream);
      Attention.sdpa(request);
      GpuProblem.assertBitwiseEqual(problem.output(stream), expected, "output");
    }
  }

  @Test
  public void workspaceGrowsAndStays() {
    try (CudaStream stream = CudaStream.create(DEVICE)) {
      DeviceMemory small = stream.workspace(1000);
      assertSame(stream.workspace(10), small);
      DeviceMemory large = stream.workspace(small.byteSize() + 1);
      assertSame(stream.workspace(1000), large);
    }
  }

  @Test(dataProvider = "kernels")
  public void callersWorkspaceIsUsedAndNoByteMore(GpuKernel kernel) {
    try (GpuProblem problem = problem(kernel, 4);
        CudaStream stream = CudaStream.create(DEVICE)) {
      float[] expected = quietCall(problem);
      long bytes = Attention.workspaceSize(problem.request().stream(stream).build());
      if (bytes == 0) {
        return; // this kernel needs none here
      }
      long canaries = 4096;
      try (DeviceMemory block = DeviceMemory.allocate(DEVICE, bytes + canaries)) {
        block.fill(0xff, stream);
        DeviceMemory workspace = DeviceMemory.wrap(DEVICE, block.address(), bytes);
        Attention.sdpa(problem.request().stream(stream).workspace(workspace).build());
        GpuProblem.assertBitwiseEqual(problem.output(stream), expected, "output");
        assertCanaries(block, bytes, canaries, stream);
        DeviceMemory small = DeviceMemory.wrap(DEVICE, block.address(), bytes - 1);
        assertEquals(
            expectThrows(
                    WorkspaceTooSmallException.class,
                    () -> Attention.sdpa(problem.request().workspace(small).build()))
                .getMessage(),
            "workspace has " + (bytes - 1) + " bytes; the request needs " + bytes);
        DeviceMemory odd = DeviceMemory.wrap(DEVICE, block.address() + 128, bytes);
        expectThrows(
            WorkspaceTooSmallException.class,
            () -> Attention.sdpa(problem.request().workspace(odd).build()));
      }
    }
  }

  private static void assertCanaries(DeviceMemory block, long from, long count, CudaStream stream) {
    DeviceTensor tail = DeviceTensor.view(block, from, DType.INT8, TensorShape.contiguous(count));
    for (float value : tail.toFloatArray(stream)) {
      assertEquals(value, -1f);
    }
  }
}
