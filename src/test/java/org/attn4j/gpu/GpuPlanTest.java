package org.attn4j.gpu;

import static org.testng.Assert.assertTrue;

import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;
import java.util.Random;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.attn4j.Attention;
import org.attn4j.AttentionRequest;
import org.attn4j.CudaStream;
import org.testng.annotations.Test;

/** A request keeps its plan, whichever thread runs it and whatever runs in between. */
@Test(groups = "gpu")
public class GpuPlanTest extends GpuTestBase {
  private static GpuProblem problem(GpuKernel kernel, int length) {
    GpuProblem.Spec spec = new GpuProblem.Spec();
    spec.batch = 1;
    spec.headsQ = 4;
    spec.headsKv = 2;
    spec.lq = length;
    spec.lk = length + 100;
    spec.headDim = 64;
    spec.options = kernel.options().build();
    return new GpuProblem(spec, new Random(SEED));
  }

  private static float[] fresh(GpuProblem problem, CudaStream stream) {
    problem.o.poison(stream);
    Attention.sdpa(problem.request().stream(stream).build());
    return problem.output(stream);
  }

  @Test(dataProvider = "kernels")
  public void threadsTakeARequestFromEachOther(GpuKernel kernel) throws Exception {
    ExecutorService other = Executors.newSingleThreadExecutor();
    try (GpuProblem a = problem(kernel, 300);
        GpuProblem b = problem(kernel, 200);
        CudaStream stream = CudaStream.create(DEVICE)) {
      float[] expectedA = fresh(a, stream);
      float[] expectedB = fresh(b, stream);
      AttentionRequest requestA = a.request().stream(stream).build();
      AttentionRequest requestB = b.request().stream(stream).build();
      for (int i = 0; i < 3; i++) {
        a.o.poison(stream);
        b.o.poison(stream);
        Attention.sdpa(requestA);
        other
            .submit(
                () -> {
                  Attention.sdpa(requestB);
                  b.o.poison(stream);
                  Attention.explain(requestA); // plans something else on that thread
                  Attention.sdpa(requestB);
                })
            .get();
        GpuProblem.assertBitwiseEqual(a.output(stream), expectedA, "a's output");
        GpuProblem.assertBitwiseEqual(b.output(stream), expectedB, "b's output");
        other.submit(() -> Attention.sdpa(requestA)).get();
        GpuProblem.assertBitwiseEqual(a.output(stream), expectedA, "a's output");
      }
    } finally {
      other.shutdown();
    }
  }

  @Test(dataProvider = "kernels")
  public void aRequestThatRunsAgainMakesNoGarbage(GpuKernel kernel) {
    ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    long thread = Thread.currentThread().getId();
    try (GpuProblem problem = problem(kernel, 128);
        CudaStream stream = CudaStream.create(DEVICE)) {
      AttentionRequest request = problem.request().stream(stream).build();
      long least = Long.MAX_VALUE; // what the compiler does in between is not the call's
      for (int i = 0; i < 10; i++) {
        long before = threads.getThreadAllocatedBytes(thread);
        for (int n = 0; n < 50; n++) {
          Attention.sdpa(request);
        }
        least = Math.min(least, threads.getThreadAllocatedBytes(thread) - before);
        stream.synchronize();
      }
      assertTrue(least < 50, least + " bytes in 50 calls");
    }
  }
}
