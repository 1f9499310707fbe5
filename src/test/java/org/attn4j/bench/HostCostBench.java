package org.attn4j.bench;

import java.lang.management.ManagementFactory;
import java.util.Arrays;
import java.util.Locale;
import java.util.Random;
import org.attn4j.Attention;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.BackendMode;
import org.attn4j.CudaDevices;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceTensor;
import org.attn4j.SageKernel;
import org.attn4j.SdpaBackend;
import org.attn4j.natives.global.attn4j;
import org.attn4j.testing.Gaussian;
import org.bytedeco.javacpp.Pointer;

/**
 * What one call of {@link Attention#sdpa(AttentionRequest)} costs the host: microseconds with all
 * launches, and bytes of Java heap. The problem is small, so that the GPU keeps up and the queue of
 * launches never fills; every 64 calls the stream is drained outside the clock. Prints one JSON
 * object per line.
 *
 * <p>Arguments: calls per measurement (20000).
 */
public final class HostCostBench {
  private static final int DRAIN = 64;

  private HostCostBench() {}

  /** Runs the measurements. */
  public static void main(String[] args) {
    int calls = args.length > 0 ? Integer.parseInt(args[0]) : 20000;
    if (CudaDevices.count() == 0) {
      System.out.println("{\"bench\": \"host_cost\", \"skipped\": \"no GPU\"}");
      return;
    }
    try (CudaStream stream = CudaStream.create(0)) {
      for (SageKernel kernel : SageKernel.values()) {
        measure("sage/" + kernel, options(SdpaBackend.SAGE, kernel), stream, calls);
      }
      measure("exact", options(SdpaBackend.EXACT, SageKernel.AUTO), stream, calls);
      nothingToDo(stream, calls);
    }
  }

  /** Without queries nothing is enqueued: what Java, JNI and the validation take. */
  private static void nothingToDo(CudaStream stream, int calls) {
    try (DeviceTensor k = tensor(new Random(1));
        DeviceTensor q = DeviceTensor.allocate(0, DType.FLOAT16, 1, 8, 0, 64);
        DeviceTensor o = DeviceTensor.allocate(0, DType.FLOAT16, 1, 8, 0, 64)) {
      AttentionRequest request =
          AttentionRequest.builder()
              .q(q)
              .k(k)
              .v(k)
              .o(o)
              .options(options(SdpaBackend.SAGE, SageKernel.QK_INT8_PV_FP16))
              .stream(stream)
              .build();
      Runnable call = () -> Attention.sdpa(request);
      loop(call, stream, calls);
      print("sage/QK_INT8_PV_FP16", "no queries", loop(call, stream, calls));
    }
    Address address = new Address();
    try (DeviceTensor tensor = tensor(new Random(1))) {
      address.set(tensor.address());
      Runnable call = () -> attn4j.device_of(address);
      loop(call, stream, calls);
      print("cudaPointerGetAttributes", "one address", loop(call, stream, calls));
    }
  }

  private static final class Address extends Pointer {
    void set(long value) {
      address = value;
    }
  }

  private static AttentionOptions options(SdpaBackend backend, SageKernel kernel) {
    return AttentionOptions.builder()
        .backend(backend)
        .sageKernel(kernel)
        .mode(BackendMode.REQUIRE)
        .build();
  }

  private static void measure(String name, AttentionOptions options, CudaStream stream, int calls) {
    Random random = new Random(1);
    try (DeviceTensor q = tensor(random);
        DeviceTensor k = tensor(random);
        DeviceTensor v = tensor(random);
        DeviceTensor o = tensor(random)) {
      AttentionRequest.Builder builder =
          AttentionRequest.builder().q(q).k(k).v(v).o(o).options(options).stream(stream);
      AttentionRequest reused = builder.build();
      try {
        Attention.sdpa(reused);
      } catch (UnsupportedOperationException e) {
        System.out.printf(
            "{\"bench\": \"host_cost\", \"backend\": \"%s\", \"skipped\": \"%s\"}%n",
            name, e.getMessage().replace('"', '\''));
        return;
      }
      Runnable same = () -> Attention.sdpa(reused);
      Runnable fresh = () -> Attention.sdpa(builder.build());
      loop(same, stream, calls); // warms up
      loop(fresh, stream, calls);
      print(name, "reused request", loop(same, stream, calls));
      print(name, "fresh request", loop(fresh, stream, calls));
    }
  }

  private static DeviceTensor tensor(Random random) {
    return DeviceTensor.copyOf(Gaussian.tensor(random, DType.FLOAT16, 1, 8, 128, 64), 0);
  }

  /** Cost of one call. */
  private record Cost(double meanMicros, double medianMicros, double bytes) {}

  private static Cost loop(Runnable call, CudaStream stream, int calls) {
    com.sun.management.ThreadMXBean threads =
        (com.sun.management.ThreadMXBean) ManagementFactory.getThreadMXBean();
    long thread = Thread.currentThread().getId();
    int batches = Math.max(1, calls / DRAIN);
    double[] micros = new double[batches];
    long allocated = 0;
    for (int batch = 0; batch < batches; batch++) {
      stream.synchronize();
      long bytes = threads.getThreadAllocatedBytes(thread);
      long start = System.nanoTime();
      for (int i = 0; i < DRAIN; i++) {
        call.run();
      }
      micros[batch] = (System.nanoTime() - start) / 1e3 / DRAIN;
      allocated += threads.getThreadAllocatedBytes(thread) - bytes;
    }
    stream.synchronize();
    double mean = Arrays.stream(micros).average().orElse(0);
    Arrays.sort(micros);
    return new Cost(mean, micros[batches / 2], (double) allocated / batches / DRAIN);
  }

  private static void print(String name, String what, Cost cost) {
    System.out.printf(
        Locale.ROOT,
        "{\"bench\": \"host_cost\", \"backend\": \"%s\", \"request\": \"%s\","
            + " \"median_us_per_call\": %.2f, \"mean_us_per_call\": %.2f,"
            + " \"heap_bytes_per_call\": %.2f}%n",
        name,
        what,
        cost.medianMicros(),
        cost.meanMicros(),
        cost.bytes());
  }
}
