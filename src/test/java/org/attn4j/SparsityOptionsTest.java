package org.attn4j;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.assertFalse;
import static org.testng.Assert.assertTrue;
import static org.testng.Assert.expectThrows;

import org.attn4j.SparsityOptions.Selection;
import org.testng.annotations.Test;

/** Sparsity options and tensors: defaults, refusals. */
public class SparsityOptionsTest {
  @Test
  public void defaultsAreUpstreams() {
    SparsityOptions options = SparsityOptions.DEFAULTS;
    assertEquals(options.selection(), Selection.MASS);
    assertEquals(options.simthreshd1(), 0.6f);
    assertEquals(options.cdfthreshd(), 0.97f);
    assertEquals(options.pvthreshd(), 15f);
    assertEquals(options.topk(), 0f);
    assertFalse(options.attentionSink());
    assertEquals(SparsityOptions.OFF.selection(), Selection.OFF);
    assertEquals(SparsityOptions.byTopk(0.5f).simthreshd1(), -0.1f);
    assertEquals(SparsityOptions.byMask().selection(), Selection.MASK);
  }

  @Test
  public void eachValueCanBeReplaced() {
    SparsityOptions options =
        SparsityOptions.DEFAULTS
            .withSimthreshd1(0.5f)
            .withCdfthreshd(0.9f)
            .withTopk(0.25f)
            .withPvthreshd(Float.POSITIVE_INFINITY)
            .withAttentionSink(true);
    assertEquals(
        options,
        new SparsityOptions(Selection.MASS, 0.5f, 0.9f, 0.25f, Float.POSITIVE_INFINITY, true));
  }

  @Test
  public void badValues() {
    SparsityOptions defaults = SparsityOptions.DEFAULTS;
    assertEquals(
        message(() -> defaults.withSimthreshd1(1.5f)),
        "simthreshd1 is 1.5; -1.0 to 1.0 are accepted");
    assertEquals(
        message(() -> defaults.withCdfthreshd(Float.NaN)),
        "cdfthreshd is NaN; 0.0 to 1.0 are accepted");
    assertEquals(
        message(() -> defaults.withPvthreshd(-1)),
        "pvthreshd is -1.0; 0.0 to Infinity are accepted");
    assertTrue(message(() -> SparsityOptions.byTopk(0)).startsWith("topk is 0;"));
  }

  @Test
  public void aMaskAndItsSelectionComeTogether() {
    assertEquals(
        message(() -> request(SparsityOptions.byMask(), SparsityTensors.NONE)),
        "blockMask is null; selection MASK needs one");
    DeviceTensor mask = tensor(DType.INT8, 1, 1, 1, 1);
    assertEquals(
        message(
            () ->
                request(
                    SparsityOptions.DEFAULTS, SparsityTensors.builder().blockMask(mask).build())),
        "blockMask is set and the selection is MASS; SparsityOptions.byMask() reads it");
    request(SparsityOptions.byMask(), SparsityTensors.builder().blockMask(mask).build());
  }

  @Test
  public void tensorsAreChecked() {
    SparsityTensors perHead =
        SparsityTensors.builder().cdfthreshd(tensor(DType.FLOAT32, 3)).build();
    assertEquals(
        message(() -> request(SparsityOptions.DEFAULTS, perHead)),
        "cdfthreshd is FLOAT32 [3]; FLOAT32 [1] is accepted");
    SparsityTensors map =
        SparsityTensors.builder().blockMap(tensor(DType.FLOAT32, 1, 1, 1, 1)).build();
    assertTrue(message(() -> request(SparsityOptions.DEFAULTS, map)).contains("INT8 [1, 1,"));
    HostTensor host = HostTensor.allocate(DType.FLOAT32, 1, 1, 1, 8);
    AttentionRequest.Builder onHost =
        AttentionRequest.builder()
            .q(host)
            .k(host)
            .v(host)
            .o(HostTensor.allocate(DType.FLOAT32, 1, 1, 1, 8))
            .sparsityTensors(
                SparsityTensors.builder().cdfthreshd(tensor(DType.FLOAT32, 1)).build());
    assertEquals(
        message(onHost::build), "cdfthreshd is on device 0 and q host memory; they must agree");
  }

  private static AttentionRequest request(SparsityOptions options, SparsityTensors tensors) {
    DeviceTensor q = tensor(DType.FLOAT16, 1, 1, 1, 8);
    return AttentionRequest.builder()
        .q(q)
        .k(q)
        .v(q)
        .o(DeviceTensor.view(DeviceMemory.wrap(0, 1 << 30, 1 << 20), 0, DType.FLOAT16, q.shape()))
        .options(AttentionOptions.builder().sparsity(options).build())
        .sparsityTensors(tensors)
        .build();
  }

  private static DeviceTensor tensor(DType dtype, long... sizes) {
    DeviceMemory memory = DeviceMemory.wrap(0, 1 << 20, 1 << 20); // nothing reads it
    return DeviceTensor.view(memory, 0, dtype, TensorShape.contiguous(sizes));
  }

  private static String message(org.testng.Assert.ThrowingRunnable action) {
    return expectThrows(InvalidAttentionArgumentException.class, action).getMessage();
  }
}
