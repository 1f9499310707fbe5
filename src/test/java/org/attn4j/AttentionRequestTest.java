package org.attn4j;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.expectThrows;

import java.util.function.Consumer;
import org.testng.annotations.DataProvider;
import org.testng.annotations.Test;

/**
 * Each bad input, with the sentence that names argument, value found and what is accepted. No GPU
 * needed.
 */
public class AttentionRequestTest {
  private static final long[] SIZES = {2, 4, 8, 16};
  private static final TensorShape SHAPE = TensorShape.contiguous(SIZES);
  private static final long STEP = 1 << 20;

  private static DeviceTensor device(long index, TensorShape shape) {
    return DeviceTensor.wrap(0, STEP * (index + 1), DType.FLOAT16, shape);
  }

  /** A valid request over device addresses that nothing reads. */
  private static AttentionRequest.Builder valid() {
    return AttentionRequest.builder()
        .q(device(0, SHAPE))
        .k(device(1, SHAPE))
        .v(device(2, SHAPE))
        .o(device(3, SHAPE));
  }

  private static TensorShape strided(long... strides) {
    return TensorShape.strided(SIZES, strides);
  }

  private static DeviceTensor of(DType dtype, long... sizes) {
    return DeviceTensor.wrap(0, 64 * STEP, dtype, TensorShape.contiguous(sizes));
  }

  private static Object[] bad(Consumer<AttentionRequest.Builder> change, String message) {
    return new Object[] {change, message};
  }

  @DataProvider
  public Object[][] badTensors() {
    return new Object[][] {
      bad(r -> r.q(null), "q is null; a tensor of rank 4 is needed"),
      bad(r -> r.k(null), "k is null; a tensor of rank 4 is needed"),
      bad(r -> r.v(null), "v is null; a tensor of rank 4 is needed"),
      bad(r -> r.o(null), "o is null; a tensor of rank 4 is needed"),
      bad(
          r -> r.options(null),
          "options is null; AttentionOptions.DEFAULTS or options of your own are needed"),
      bad(
          r -> r.q(device(0, TensorShape.contiguous(2, 8, 16))),
          "q has rank 3; rank 4 is accepted"),
      bad(r -> r.k(of(DType.BFLOAT16, SIZES)), "k is BFLOAT16 and q is FLOAT16; they must agree"),
      bad(
          r -> r.q(of(DType.INT8, SIZES)),
          "q is INT8; FLOAT16 and BFLOAT16 are accepted, FLOAT32 on the host"),
      bad(
          r -> r.v(HostTensor.allocate(DType.FLOAT16, SIZES)),
          "v is host memory and q is device memory; all tensors must be in the same kind"),
      bad(
          r -> r.k(DeviceTensor.wrap(1, STEP, DType.FLOAT16, SHAPE)),
          "k is on device 1 and q on device 0; all tensors must be on the same device"),
      bad(
          r -> r.q(device(0, strided(1024, 256, 32, 2))),
          "q.stride[3] is 2; the channels of a device tensor must be contiguous (stride 1)"),
      bad(
          r ->
              r.q(
                  DeviceTensor.view(
                      DeviceMemory.wrap(0, STEP, STEP),
                      4096,
                      DType.FLOAT16,
                      strided(512, 128, -16, 1))),
          "q.stride[2] is -16; the strides of a device tensor must not be negative"),
    };
  }

  @DataProvider
  public Object[][] badShapes() {
    return new Object[][] {
      bad(
          r -> r.k(device(1, TensorShape.contiguous(2, 4, 9, 16))),
          "v has sizes [2, 4, 8, 16] and k [2, 4, 9, 16]; they must agree"),
      bad(
          r -> r.o(device(3, TensorShape.contiguous(2, 4, 7, 16))),
          "o has sizes [2, 4, 7, 16] and q [2, 4, 8, 16]; they must agree"),
      bad(r -> kv(r, 3, 4, 8, 16), "k has batch 3 and q 2; they must agree"),
      bad(r -> kv(r, 2, 4, 8, 8), "k has head_dim 8 and q 16; they must agree"),
      bad(
          r -> kv(r, 2, 3, 8, 16),
          "q has 4 heads and k has 3; the first must be a multiple of the second"),
      bad(
          r -> kv(r, 2, 8, 8, 16),
          "q has 4 heads and k has 8; the first must be a multiple of the second"),
      bad(
          r -> kv(r, 2, 0, 8, 16),
          "q has 4 heads and k has 0; the first must be a multiple of the second"),
      bad(r -> r.q(of(DType.FLOAT16, 2, 4, 8, 0)), "q has head_dim 0; 1 or more is accepted"),
      bad(
          r -> r.o(device(3, strided(0, 128, 16, 1))),
          "o.stride[0] is 0; the output's elements must not share memory"),
      bad(r -> r.o(device(0, SHAPE)), "o overlaps q; the output needs memory of its own"),
      bad(
          r -> r.o(DeviceTensor.wrap(0, STEP * 3 + 128, DType.FLOAT16, SHAPE)),
          "o overlaps v; the output needs memory of its own"),
    };
  }

  @DataProvider
  public Object[][] badOptionalParts() {
    return new Object[][] {
      bad(
          r -> r.lse(of(DType.FLOAT16, 2, 4, 8)),
          "lse is FLOAT16 [2, 4, 8]; contiguous FLOAT32 [2, 4, 8] is accepted"),
      bad(
          r -> r.lse(of(DType.FLOAT32, 2, 8, 4)),
          "lse is FLOAT32 [2, 8, 4]; contiguous FLOAT32 [2, 4, 8] is accepted"),
      bad(
          r -> r.lse(DeviceTensor.wrap(0, STEP, DType.FLOAT32, TensorShape.contiguous(2, 4, 8))),
          "lse overlaps q, k, v or o; it needs memory of its own"),
      bad(
          r -> r.lse(HostTensor.allocate(DType.FLOAT32, 2, 4, 8)),
          "lse is host memory and q is device memory; all tensors must be in the same kind"),
      bad(
          r -> r.kvLengths(of(DType.INT32, 3)),
          "kvLengths is INT32 [3]; contiguous INT32 [2] is accepted"),
      bad(
          r -> r.kvLengths(of(DType.FLOAT32, 2)),
          "kvLengths is FLOAT32 [2]; contiguous INT32 [2] is accepted"),
      bad(
          r -> r.stream(CudaStream.defaultStream(1)),
          "stream is on device 1 and q on device 0; they must agree"),
      bad(
          r -> r.workspace(DeviceMemory.wrap(2, STEP, 256)),
          "workspace is on device 2 and q on device 0; they must agree"),
    };
  }

  private static void kv(AttentionRequest.Builder request, long... sizes) {
    request.k(device(1, TensorShape.contiguous(sizes)));
    request.v(device(2, TensorShape.contiguous(sizes)));
  }

  @Test(dataProvider = "badTensors")
  public void badTensorIsRefused(Consumer<AttentionRequest.Builder> change, String message) {
    assertRefused(change, message);
  }

  @Test(dataProvider = "badShapes")
  public void badShapeIsRefused(Consumer<AttentionRequest.Builder> change, String message) {
    assertRefused(change, message);
  }

  @Test(dataProvider = "badOptionalParts")
  public void badOptionalPartIsRefused(Consumer<AttentionRequest.Builder> change, String message) {
    assertRefused(change, message);
  }

  private static void assertRefused(Consumer<AttentionRequest.Builder> change, String message) {
    AttentionRequest.Builder builder = valid();
    change.accept(builder);
    assertEquals(
        expectThrows(InvalidAttentionArgumentException.class, builder::build).getMessage(),
        message);
  }

  @Test
  public void validRequestKeepsEverything() {
    DeviceTensor lengths = of(DType.INT32, 2);
    AttentionRequest request = valid().kvLengths(lengths).build();
    assertEquals(request.dims().toString(), "batch 2, heads 4/4, queries 8, keys 8, head_dim 16");
    assertEquals(request.kvLengths(), lengths);
    assertEquals(request.stream(), CudaStream.defaultStream(0));
    AttentionOptions nhd = AttentionOptions.builder().layout(TensorLayout.NHD).build();
    assertEquals(
        valid().options(nhd).build().dims().toString(),
        "batch 2, heads 8/8, queries 4, keys 4, head_dim 16");
  }

  @Test
  public void hostRequestTakesNoStream() {
    HostTensor tensor = HostTensor.allocate(DType.FLOAT16, SIZES);
    AttentionRequest.Builder host =
        AttentionRequest.builder()
            .q(tensor)
            .k(tensor)
            .v(tensor)
            .o(HostTensor.allocate(DType.FLOAT16, SIZES))
            .stream(CudaStream.defaultStream(0));
    assertEquals(
        expectThrows(InvalidAttentionArgumentException.class, host::build).getMessage(),
        "stream is set and q is host memory; host tensors take neither stream nor workspace");
  }

  @Test
  public void closedTensorIsRefusedWhenBuiltAndWhenRun() {
    DeviceMemory memory = DeviceMemory.wrap(0, 32 * STEP, STEP);
    DeviceTensor k = DeviceTensor.view(memory, 0, DType.FLOAT16, SHAPE);
    AttentionRequest request = valid().k(k).build();
    memory.close();
    assertEquals(
        expectThrows(ClosedTensorException.class, () -> Attention.sdpa(request)).getMessage(),
        "k is closed; it must be open during the call");
    assertEquals(
        expectThrows(ClosedTensorException.class, () -> valid().k(k).build()).getMessage(),
        "k is closed; an open tensor is needed");
  }

  @Test
  public void interleavedViewsDoNotOverlap() {
    // One row of memory: q, k, v and o of 4 heads of 16 channels each, packed.
    TensorShape row = TensorShape.strided(new long[] {2, 8, 4, 16}, new long[] {2048, 256, 16, 1});
    DeviceMemory packed = DeviceMemory.wrap(0, STEP, 8192);
    AttentionOptions nhd = AttentionOptions.builder().layout(TensorLayout.NHD).build();
    AttentionRequest.builder()
        .q(DeviceTensor.view(packed, 0, DType.FLOAT16, row))
        .k(DeviceTensor.view(packed, 128, DType.FLOAT16, row))
        .v(DeviceTensor.view(packed, 256, DType.FLOAT16, row))
        .o(DeviceTensor.view(packed, 384, DType.FLOAT16, row))
        .options(nhd)
        .build();
  }
}
