package org.attn4j.gpu;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertTrue;

import java.util.Arrays;
import java.util.Random;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceMemory;
import org.attn4j.DeviceTensor;
import org.attn4j.HostTensor;
import org.attn4j.QuantGranularity;
import org.attn4j.TensorLayout;
import org.attn4j.natives.KMeanParams;
import org.attn4j.natives.QuantInt8Params;
import org.attn4j.natives.TensorView;
import org.attn4j.natives.Workspace;
import org.attn4j.natives.global.attn4j;
import org.attn4j.testing.Gaussian;
import org.attn4j.testing.QuantReference;
import org.bytedeco.javacpp.Pointer;
import org.testng.annotations.Test;

/** The quantisation pieces of the native library against {@link QuantReference}, bit for bit. */
@Test(groups = "gpu")
public class GpuQuantTest extends GpuTestBase {
  private static final int[] LENGTHS = {1, 7, 31, 32, 33, 63, 64, 65, 127, 128, 129, 300};
  private static final int[] HEAD_DIMS = {8, 33, 40, 64, 72, 96, 128};

  private static final class Address extends Pointer {
    Address(long value) {
      address = value;
    }
  }

  /** Random rows with large offsets, whose mean matters. */
  private record Input(DType dtype, TensorLayout layout, int[] bhsd) {
    int b() {
      return bhsd[0];
    }

    int h() {
      return bhsd[1];
    }

    int s() {
      return bhsd[2];
    }

    int d() {
      return bhsd[3];
    }

    @Override
    public String toString() {
      return dtype + " " + layout + " b, h, s, d " + Arrays.toString(bhsd);
    }

    long[] sizes() {
      return layout == TensorLayout.HND
          ? new long[] {b(), h(), s(), d()}
          : new long[] {b(), s(), h(), d()};
    }

    HostTensor make(Random random) {
      float[] values = Gaussian.values(random, b() * h() * s() * d());
      float[] bias = Gaussian.values(random, d());
      for (int i = 0; i < values.length; i++) {
        values[i] += 4 * bias[i % d()];
      }
      return Gaussian.of(dtype, values, sizes());
    }

    /** [s][d] of one head. */
    float[] rows(HostTensor tensor, int batch, int head) {
      boolean hnd = layout == TensorLayout.HND;
      return tensor.select(0, batch).select(hnd ? 0 : 1, head).toFloatArray();
    }
  }

  private static Input input(Random random) {
    DType dtype = random.nextBoolean() ? DType.FLOAT16 : DType.BFLOAT16;
    TensorLayout layout = TensorLayout.values()[random.nextInt(2)];
    int[] bhsd = {
      1 + random.nextInt(2),
      1 + random.nextInt(3),
      LENGTHS[random.nextInt(LENGTHS.length)],
      HEAD_DIMS[random.nextInt(HEAD_DIMS.length)]
    };
    return new Input(dtype, layout, bhsd);
  }

  private static void fill(TensorView view, DeviceTensor tensor) {
    view.data(new Address(tensor.address()));
    view.dtype(tensor.dtype() == DType.FLOAT16 ? attn4j.DType.kFloat16 : attn4j.DType.kBFloat16);
    for (int i = 0; i < 4; i++) {
      view.size(i, tensor.size(i));
      view.stride(i, tensor.stride(i));
    }
  }

  private static attn4j.TensorLayout layout(Input input) {
    return input.layout() == TensorLayout.HND ? attn4j.TensorLayout.kHND : attn4j.TensorLayout.kNHD;
  }

  private static DeviceTensor mean(Input input, DeviceTensor k, CudaStream stream) {
    DeviceTensor mean =
        DeviceTensor.allocate(DEVICE, DType.FLOAT32, input.b(), input.h(), input.d());
    try (KMeanParams params = new KMeanParams();
        Workspace workspace = new Workspace()) {
      fill(params.k(), k);
      params.tensor_layout(layout(input));
      params.mean(new Address(mean.address()));
      long bytes = attn4j.k_mean_workspace_size(params);
      assertTrue(bytes >= 0, attn4j.last_error().getString());
      DeviceMemory scratch = stream.workspace(bytes);
      scratch.fill(0xff, stream);
      workspace.data(new Address(scratch.address()));
      workspace.size(bytes);
      assertEquals(
          attn4j.k_mean(params, workspace, stream.handle()), 0, attn4j.last_error().getString());
    }
    return mean;
  }

  /** fp32 sums of at most 60 terms deep: off by at most 60 units of the mean absolute value. */
  @Test
  public void meanOfK() {
    Random random = new Random(SEED);
    try (CudaStream stream = CudaStream.create(DEVICE)) {
      for (int n = 0; n < 40; n++) {
        Input input =
            n < 30
                ? input(random)
                : new Input(DType.FLOAT16, TensorLayout.NHD, new int[] {1, 2, 5000 + 17 * n, 64});
        HostTensor host = input.make(random);
        try (DeviceTensor k = DeviceTensor.copyOf(host, DEVICE);
            DeviceTensor mean = mean(input, k, stream)) {
          checkMean(input, host, mean.toFloatArray(stream));
        }
      }
    }
  }

  private static void checkMean(Input input, HostTensor host, float[] found) {
    for (int head = 0; head < input.b() * input.h(); head++) {
      float[] rows = input.rows(host, head / input.h(), head % input.h());
      double[] expected = QuantReference.mean(rows, input.d());
      double largest = 0;
      for (float row : rows) {
        largest = Math.max(largest, Math.abs(row));
      }
      for (int c = 0; c < input.d(); c++) {
        double difference = Math.abs(found[head * input.d() + c] - expected[c]);
        assertTrue(difference <= 60 * 0x1p-24 * largest, input + ": off by " + difference);
      }
    }
  }

  /** One call of quant_int8. {@code mean} may be null. */
  private record Call(
      Problem problem, QuantGranularity granularity, boolean isKey, DeviceTensor mean) {
    @Override
    public String toString() {
      String shift = mean == null ? "" : " with mean";
      return problem.input() + " " + granularity + (isKey ? " key" : " query") + shift;
    }
  }

  /** An input on host and device. */
  private record Problem(Input input, HostTensor host, DeviceTensor x) {}

  @Test
  public void int8ValuesAndScalesAreThoseOfTheReference() {
    Random random = new Random(SEED);
    int cases = 0;
    try (CudaStream stream = CudaStream.create(DEVICE)) {
      for (int n = 0; n < 25; n++) {
        Input input = input(random);
        HostTensor host = input.make(random);
        try (DeviceTensor x = DeviceTensor.copyOf(host, DEVICE);
            DeviceTensor mean = mean(input, x, stream)) {
          Problem problem = new Problem(input, host, x);
          for (QuantGranularity granularity : QuantGranularity.values()) {
            check(new Call(problem, granularity, false, null), stream);
            check(new Call(problem, granularity, true, null), stream);
            check(new Call(problem, granularity, true, mean), stream);
            cases += 3;
          }
        }
      }
    }
    System.out.println("quant_int8: " + cases + " cases equal bit for bit");
  }

  private static void check(Call call, CudaStream stream) {
    Input input = call.problem().input();
    try (DeviceTensor values =
            DeviceTensor.allocate(DEVICE, DType.INT8, input.b(), input.h(), input.s(), input.d());
        DeviceTensor scales =
            DeviceTensor.allocate(DEVICE, DType.FLOAT32, input.b(), input.h(), input.s())) {
      values.memory().fill(0x80, stream); // -128: no value of the quantiser
      scales.memory().fill(0xff, stream);
      run(call, values, scales, stream);
      float[] foundValues = values.toFloatArray(stream);
      float[] foundScales = scales.toFloatArray(stream);
      float[] means = call.mean() == null ? null : call.mean().toFloatArray(stream);
      int rows = input.s();
      for (int head = 0; head < input.b() * input.h(); head++) {
        QuantReference.Quantised expected = expected(call, means, head);
        String where = call + " head " + head;
        for (int r = 0; r < rows; r++) {
          require(foundScales[head * rows + r], expected.scales()[r], where, r);
        }
        for (int i = 0; i < rows * input.d(); i++) {
          require(foundValues[head * rows * input.d() + i], expected.values()[i], where, i);
        }
      }
    }
  }

  private static QuantReference.Quantised expected(Call call, float[] means, int head) {
    Input input = call.problem().input();
    float[] shift =
        means == null ? null : Arrays.copyOfRange(means, head * input.d(), (head + 1) * input.d());
    float[] rows = input.rows(call.problem().host(), head / input.h(), head % input.h());
    return QuantReference.quantise(rows, input.d(), shift, call.granularity(), call.isKey());
  }

  private static void require(float found, float expected, String where, int index) {
    if (found != expected) {
      throw new AssertionError(
          where + ", index " + index + ": found " + found + ", expected " + expected);
    }
  }

  private static void run(Call call, DeviceTensor values, DeviceTensor scales, CudaStream stream) {
    try (QuantInt8Params params = new QuantInt8Params()) {
      fill(params.x(), call.problem().x());
      params.tensor_layout(layout(call.problem().input()));
      params.granularity(attn4j.QuantGranularity.values()[call.granularity().ordinal()]);
      params.is_key(call.isKey());
      params.mean(call.mean() == null ? null : new Address(call.mean().address()));
      params.values(new Address(values.address()));
      params.scales(new Address(scales.address()));
      assertEquals(attn4j.quant_int8(params, stream.handle()), 0, attn4j.last_error().getString());
    }
  }
}
