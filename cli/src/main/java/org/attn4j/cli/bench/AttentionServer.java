package org.attn4j.cli.bench;

import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import org.attn4j.Attention;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.AttentionTensor;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceTensor;
import org.attn4j.HostTensor;
import org.attn4j.InvalidAttentionArgumentException;

/** A backend of attn4j, on a GPU or on the CPU, over requests that are used again. */
public final class AttentionServer implements Server {
  private static final long CACHE_BYTES = 150L << 20; // more than the L2 cache of any GPU here
  private static final int MOST_INPUTS = 16;

  private final String name;
  private final CudaStream stream; // null on the CPU
  private final List<AutoCloseable> owned = new ArrayList<>();
  private final List<AttentionRequest> requests = new ArrayList<>();

  /**
   * A server with random inputs.
   *
   * @param device the GPU; below 0 for host memory
   * @param sizesQ sizes of q and o
   * @param sizesKv sizes of k and v
   * @throws org.attn4j.UnsupportedAttentionException if the backend doesn't serve it
   */
  public AttentionServer(
      String name,
      int device,
      DType dtype,
      long[] sizesQ,
      long[] sizesKv,
      AttentionOptions options) {
    this.name = name;
    this.stream = device < 0 ? null : CudaStream.create(device);
    try {
      int inputs = device < 0 ? 1 : inputs(dtype, sizesQ, sizesKv);
      for (int i = 0; i < inputs; i++) {
        AttentionRequest.Builder request =
            AttentionRequest.builder()
                .q(tensor(device, dtype, 3L * i, sizesQ))
                .k(tensor(device, dtype, 3L * i + 1, sizesKv))
                .v(tensor(device, dtype, 3L * i + 2, sizesKv))
                .o(own(empty(device, dtype, sizesQ)))
                .options(options);
        requests.add((stream == null ? request : request.stream(stream)).build());
      }
      start(0);
      await();
    } catch (RuntimeException e) {
      close();
      throw e;
    }
  }

  /** How many inputs calls take turns among, so that the L2 cache doesn't hold them. */
  static int inputs(DType dtype, long[] sizesQ, long[] sizesKv) {
    long bytes = 2 * (elements(sizesQ) + elements(sizesKv)) * dtype.byteSize();
    return (int) Math.max(1, Math.min(MOST_INPUTS, CACHE_BYTES / bytes + 1));
  }

  private AttentionTensor tensor(int device, DType dtype, long seed, long[] sizes) {
    long count = elements(sizes);
    if (count > Integer.MAX_VALUE) {
      throw new InvalidAttentionArgumentException(
          "the shape has a tensor of " + count + " elements; up to 2147483647 are accepted");
    }
    float[] values = random(seed, (int) count);
    return own(
        device < 0
            ? HostTensor.of(dtype, values, sizes)
            : DeviceTensor.of(device, dtype, values, sizes));
  }

  private static AttentionTensor empty(int device, DType dtype, long[] sizes) {
    return device < 0
        ? HostTensor.allocate(dtype, sizes)
        : DeviceTensor.allocate(device, dtype, sizes);
  }

  private AttentionTensor own(AttentionTensor tensor) {
    owned.add(tensor);
    return tensor;
  }

  private static long elements(long[] sizes) {
    long product = 1;
    for (long size : sizes) {
      product *= size;
    }
    return product;
  }

  /** Normal random numbers. */
  static float[] random(long seed, int count) {
    SplittableRandom random = new SplittableRandom(seed);
    float[] values = new float[count];
    for (int i = 0; i < count; i++) {
      values[i] = (float) random.nextGaussian();
    }
    return values;
  }

  @Override
  public String name() {
    return name;
  }

  @Override
  public void start(int call) {
    Attention.sdpa(requests.get(call % requests.size()));
  }

  @Override
  public void await() {
    if (stream != null) {
      stream.synchronize();
    }
  }

  @Override
  public void close() {
    for (AutoCloseable each : owned) {
      try {
        each.close();
      } catch (Exception e) {
        throw new IllegalStateException(e); // no tensor throws one
      }
    }
    if (stream != null) {
      stream.close();
    }
  }
}
