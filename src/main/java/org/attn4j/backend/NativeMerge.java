package org.attn4j.backend;

import org.attn4j.AttentionState;
import org.attn4j.CudaStream;
import org.attn4j.DType;
import org.attn4j.DeviceTensor;
import org.attn4j.TensorLayout;
import org.attn4j.natives.MergeAttnStateParams;
import org.attn4j.natives.TensorView;
import org.attn4j.natives.global.attn4j;
import org.attn4j.runtime.NativeLibrary;
import org.bytedeco.javacpp.Pointer;

/** The only class that touches the bindings of merge_attn_state. Internal. */
public final class NativeMerge {
  private NativeMerge() {}

  /** A Pointer at an address that someone else owns. */
  private static final class Address extends Pointer {
    Address(long value) {
      address = value;
    }
  }

  /** Enqueues a merge on a machine that has a GPU; {@code result} is null unless it is the last. */
  public static void merge(
      AttentionState sum,
      AttentionState part,
      AttentionState result,
      TensorLayout layout,
      boolean isFirst,
      CudaStream stream) {
    NativeLibrary.use(part.o().device());
    try (MergeAttnStateParams params = new MergeAttnStateParams()) {
      fill(params.part(), part.o());
      params.part_lse(new Address(part.lse().address()));
      params.tensor_layout(
          layout == TensorLayout.HND ? attn4j.TensorLayout.kHND : attn4j.TensorLayout.kNHD);
      params.is_first(isFirst);
      params.acc(new Address(sum.o().address()));
      params.acc_lse(new Address(sum.lse().address()));
      for (int i = 0; i < 4; i++) {
        params.acc_stride(i, sum.o().stride(i));
      }
      params.acc_lse_stride(0, sum.lse().stride(0));
      params.acc_lse_stride(1, sum.lse().stride(1));
      if (result != null) {
        fill(params.o(), result.o());
        params.lse(result.lse() == null ? null : new Address(result.lse().address()));
      }
      int status = attn4j.merge_attn_state(params, stream.handle());
      if (status != NativeStatus.OK) {
        throw NativeStatus.exception(status, attn4j.last_error().getString());
      }
    }
  }

  private static void fill(TensorView view, DeviceTensor tensor) {
    view.data(new Address(tensor.address()));
    view.dtype(tensor.dtype() == DType.FLOAT16 ? attn4j.DType.kFloat16 : attn4j.DType.kBFloat16);
    for (int i = 0; i < 4; i++) {
      view.size(i, tensor.size(i));
      view.stride(i, tensor.stride(i));
    }
  }
}
