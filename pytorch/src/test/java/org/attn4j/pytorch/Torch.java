package org.attn4j.pytorch;

import java.util.Locale;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Device;
import org.bytedeco.pytorch.DeviceOptional;
import org.bytedeco.pytorch.ScalarTypeOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptions;
import org.bytedeco.pytorch.global.torch.DeviceType;
import org.bytedeco.pytorch.global.torch.ScalarType;

/** What tests ask of PyTorch. */
final class Torch {
  private Torch() {}

  static TensorOptions options(ScalarType type, boolean cuda) {
    return new TensorOptions()
        .dtype(new ScalarTypeOptional(type))
        .device(
            new DeviceOptional(
                cuda ? new Device(DeviceType.CUDA, (byte) 0) : new Device(DeviceType.CPU)));
  }

  /** How two tensors compare, in double. */
  record Difference(double largest, double cosine, double relativeL1, boolean sameSizes) {
    @SuppressWarnings("try") // the scope is there to be closed
    static Difference of(Tensor actual, Tensor expected) {
      try (PointerScope temporaries = new PointerScope()) {
        if (!CallCheck.sizes(actual).equals(CallCheck.sizes(expected))) {
          return new Difference(Double.NaN, Double.NaN, Double.NaN, false);
        }
        Tensor a = actual.to(ScalarType.Double);
        Tensor b = expected.to(ScalarType.Double);
        double squares = a.mul(a).sum().item_double() * b.mul(b).sum().item_double();
        Tensor difference = a.sub(b).abs();
        double size = b.abs().sum().item_double();
        double sum = difference.sum().item_double();
        return new Difference(
            difference.max().item_double(),
            squares == 0 ? 1 : a.mul(b).sum().item_double() / Math.sqrt(squares),
            sum == 0 ? 0 : sum / size,
            true);
      }
    }

    @Override
    public String toString() {
      return String.format(Locale.ROOT, "max %.3g cos %.7f L1 %.6f", largest, cosine, relativeL1);
    }
  }
}
