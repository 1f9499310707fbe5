package org.attn4j.gpu;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.Random;
import org.attn4j.Attention;
import org.attn4j.AttentionMask;
import org.attn4j.AttentionOptions;
import org.attn4j.AttentionRequest;
import org.attn4j.AttentionTensor;
import org.attn4j.BackendMode;
import org.attn4j.CausalMask;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceTensor;
import org.attn4j.HostTensor;
import org.attn4j.SdpaBackend;
import org.attn4j.TensorShape;
import org.attn4j.backend.CpuAttention;
import org.attn4j.testing.Gaussian;
import org.attn4j.testing.MaskCase;
import org.testng.Assert;
import org.testng.annotations.Test;

/** The exact kernel's masks against the CPU backend in fp64, with garbage behind hidden keys. */
@Test(groups = "gpu")
public class GpuMaskTest extends GpuTestBase {
  private static final int CASES = 300;
  private static final int[] LENGTHS = {1, 7, 31, 64, 65, 127, 128, 200, 257, 600};
  private static final int[] HEAD_DIMS = {8, 40, 64, 96, 128, 160, 256};
  private static final MaskCase.Kind[] KINDS = {
    MaskCase.Kind.KEYS,
    MaskCase.Kind.PAIRS,
    MaskCase.Kind.BIAS,
    MaskCase.Kind.WINDOW,
    MaskCase.Kind.PREFIX
  };

  /** One random case, on the host. */
  private static final class Case {
    final int batch;
    final int headsKv;
    final int group;
    final int lq;
    final int lk;
    final int headDim;
    final DType dtype;
    final AttentionOptions options;
    final HostTensor q;
    final HostTensor k;
    final HostTensor v;
    final HostTensor o;
    final HostTensor lse;
    final MaskCase mask;

    Case(Random random, int number) {
      batch = 1 + random.nextInt(2);
      headsKv = 1 + random.nextInt(2);
      group = 1 + random.nextInt(2);
      lq = LENGTHS[random.nextInt(LENGTHS.length)];
      lk = LENGTHS[random.nextInt(LENGTHS.length)];
      headDim = HEAD_DIMS[random.nextInt(HEAD_DIMS.length)];
      dtype = random.nextBoolean() ? DType.FLOAT16 : DType.BFLOAT16;
      CausalMask causal =
          random.nextInt(3) == 0 ? CausalMask.values()[random.nextInt(3)] : CausalMask.NONE;
      options =
          AttentionOptions.builder()
              .causalMask(causal)
              .backend(SdpaBackend.EXACT)
              .mode(BackendMode.REQUIRE)
              .build();
      q = Gaussian.tensor(random, dtype, batch, headsKv * group, lq, headDim);
      k = Gaussian.tensor(random, dtype, batch, headsKv, lk, headDim);
      v = Gaussian.tensor(random, dtype, batch, headsKv, lk, headDim);
      o = HostTensor.allocate(DType.FLOAT32, batch, headsKv * group, lq, headDim);
      lse = HostTensor.allocate(DType.FLOAT32, batch, headsKv * group, lq);
      mask = new MaskCase(random, KINDS[number % KINDS.length], batch, headsKv * group, lq, lk);
      spoilHiddenKeys();
    }

    private void spoilHiddenKeys() {
      for (int b = 0; b < batch; b++) {
        for (int h = 0; h < headsKv; h++) {
          for (int j = 0; j < lk; j++) {
            if (isHidden(b, h, j)) {
              k.set(Float.NaN, b, h, j, j % headDim);
              v.set(Float.POSITIVE_INFINITY, b, h, j, j % headDim);
            }
          }
        }
      }
    }

    private boolean isHidden(int b, int kvHead, int j) {
      for (int h = kvHead * group; h < (kvHead + 1) * group; h++) {
        for (int i = 0; i < lq; i++) {
          if (mask.function.of(b, h, i, j) != Double.NEGATIVE_INFINITY) {
            return false;
          }
        }
      }
      return true;
    }

    /** In fp64, the output in fp32. */
    void computeExpected() {
      CpuAttention.run(
          AttentionRequest.builder()
              .q(widened(q))
              .k(widened(k))
              .v(widened(v))
              .o(o)
              .lse(lse)
              .mask(mask.mask)
              .options(options)
              .build(),
          CpuAttention.Precision.FP64);
    }

    private static HostTensor widened(HostTensor tensor) {
      return HostTensor.of(DType.FLOAT32, tensor.toFloatArray(), tensor.shape().sizes());
    }

    @Override
    public String toString() {
      return dtype + " q " + q.shape() + " k " + k.shape() + " " + mask;
    }
  }

  /** The same tensor in device memory, strides and gaps included. */
  private static DeviceTensor onDevice(AttentionTensor tensor) {
    HostTensor host = (HostTensor) tensor;
    long elements = host.memory().byteSize() / host.dtype().byteSize();
    TensorShape flat = TensorShape.contiguous(elements);
    DeviceTensor copy =
        DeviceTensor.copyOf(HostTensor.view(host.memory(), 0, host.dtype(), flat), DEVICE);
    return DeviceTensor.view(copy.memory(), 0, host.dtype(), host.shape());
  }

  /** The same mask with tensors in device memory. */
  private static AttentionMask onDevice(AttentionMask mask) {
    AttentionMask all = window(mask);
    if (mask.bias() != null) {
      all = all.and(AttentionMask.bias(onDevice(mask.bias())));
    }
    return mask.seen() == null ? all : all.and(seenOnDevice(mask.seen()));
  }

  /** Its window or prefix-LM, or a window that shows everything. */
  private static AttentionMask window(AttentionMask mask) {
    if (mask.windowPrefix() > 0) {
      return AttentionMask.prefixLm(mask.windowPrefix());
    }
    long left = mask.windowLeft();
    long right = mask.windowRight();
    return AttentionMask.slidingWindow(
        left < 0 ? Long.MAX_VALUE : left, right < 0 ? Long.MAX_VALUE : right);
  }

  private static AttentionMask seenOnDevice(AttentionTensor seen) {
    DeviceTensor copy = onDevice(seen);
    return seen.shape().rank() == 2 ? AttentionMask.keys(copy) : AttentionMask.pairs(copy);
  }

  @Test
  public void masksMeetTheCpuBackend() {
    Random random = new Random(SEED);
    int served = 0;
    try (CudaStream stream = CudaStream.create(DEVICE)) {
      for (int n = 0; n < CASES; n++) {
        Case test = new Case(random, n);
        if (test.mask.mask.deviceObstacle() == null) {
          served++;
          check(test, stream);
        }
      }
    }
    assertTrue(served > CASES / 2, "served: " + served);
  }

  private static void check(Case test, CudaStream stream) {
    test.computeExpected();
    AttentionMask mask = onDevice(test.mask.mask);
    try (DeviceTensor q = DeviceTensor.copyOf(test.q, DEVICE);
        DeviceTensor k = DeviceTensor.copyOf(test.k, DEVICE);
        DeviceTensor v = DeviceTensor.copyOf(test.v, DEVICE);
        DeviceTensor o = DeviceTensor.allocate(DEVICE, test.dtype, test.q.shape().sizes());
        DeviceTensor lse = DeviceTensor.allocate(DEVICE, DType.FLOAT32, test.lse.shape().sizes())) {
      Attention.sdpa(
          AttentionRequest.builder()
              .q(q)
              .k(k)
              .v(v)
              .o(o)
              .lse(lse)
              .mask(mask)
              .options(test.options)
              .stream(stream)
              .build());
      // Probabilities and outputs are rounded to the type; values stay below 6.
      double unit = test.dtype == DType.FLOAT16 ? 0x1p-11 : 0x1p-8;
      compare(o.toFloatArray(stream), test.o.toFloatArray(), 6 * unit, test);
      compare(lse.toFloatArray(stream), test.lse.toFloatArray(), 2e-4, test);
    } finally {
      mask.tensors().forEach(tensor -> tensor.memory().close());
    }
  }

  private static void compare(float[] actual, float[] expected, double tolerance, Case test) {
    assertEquals(actual.length, expected.length);
    for (int i = 0; i < actual.length; i++) {
      boolean same = Float.compare(actual[i] + 0f, expected[i] + 0f) == 0;
      if (!same && !(Math.abs((double) actual[i] - expected[i]) <= tolerance)) {
        Assert.fail(i + ": found " + actual[i] + ", expected " + expected[i] + " in " + test);
      }
    }
  }
}
