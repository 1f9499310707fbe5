package org.attn4j.cli.bench;

import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.attn4j.DType;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch;
import org.bytedeco.pytorch.global.torch.DeviceType;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** PyTorch's own attention, if bytedeco's PyTorch is on the class path. */
public final class TorchServer implements Server {
  private static final String PROBE = "org.bytedeco.pytorch.global.torch";

  private record Inputs(Tensor q, Tensor k, Tensor v) {}

  private final List<Inputs> inputs = new ArrayList<>();
  private final boolean causal;
  private final boolean grouped;
  private final boolean cuda;
  private final TensorOptional noMask = new TensorOptional();
  private final DoubleOptional noScale = new DoubleOptional();

  /** Random tensors on a GPU, or below 0 on the CPU. */
  public TorchServer(int device, DType dtype, long[] sizesQ, long[] sizesKv, boolean causal) {
    this.causal = causal;
    this.grouped = sizesQ[1] != sizesKv[1];
    this.cuda = device >= 0;
    Device place = cuda ? new Device(DeviceType.CUDA, (byte) device) : new Device(DeviceType.CPU);
    TensorOptions options =
        new TensorOptions()
            .dtype(new ScalarTypeOptional(type(dtype)))
            .device(new DeviceOptional(place));
    int count = cuda ? AttentionServer.inputs(dtype, sizesQ, sizesKv) : 1;
    for (int i = 0; i < count; i++) {
      inputs.add(
          new Inputs(
              torch.randn(sizesQ, options),
              torch.randn(sizesKv, options),
              torch.randn(sizesKv, options)));
    }
    start(0);
    await();
  }

  /** Why PyTorch can't be measured; empty if it can. */
  public static Optional<String> obstacle(boolean onGpu) {
    try {
      Class.forName(PROBE, false, TorchServer.class.getClassLoader());
    } catch (ClassNotFoundException e) {
      return Optional.of("org.bytedeco:pytorch-platform is not on the class path");
    }
    try {
      return cudaIsThere() || !onGpu
          ? Optional.empty()
          : Optional.of("this PyTorch has no CUDA; add org.bytedeco:pytorch-platform-gpu");
    } catch (LinkageError e) {
      return Optional.of("PyTorch's libraries can't be loaded: " + e.getMessage());
    }
  }

  private static boolean cudaIsThere() {
    return torch.cuda_is_available();
  }

  private static ScalarType type(DType dtype) {
    return switch (dtype) {
      case FLOAT16 -> ScalarType.Half;
      case BFLOAT16 -> ScalarType.BFloat16;
      default -> ScalarType.Float;
    };
  }

  @Override
  public String name() {
    return "pytorch";
  }

  @Override
  public void start(int call) {
    Inputs in = inputs.get(call % inputs.size());
    torch
        .scaled_dot_product_attention(in.q(), in.k(), in.v(), noMask, 0, causal, noScale, grouped)
        .close();
  }

  @Override
  public void await() {
    if (cuda) {
      torch.cuda_synchronize();
    }
  }

  @Override
  public void close() {
    for (Inputs each : inputs) {
      each.q().close();
      each.k().close();
      each.v().close();
    }
  }
}
