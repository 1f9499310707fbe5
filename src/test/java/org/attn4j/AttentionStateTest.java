package org.attn4j;

import static org.testng.Assert.assertEquals;
import static org.testng.Assert.expectThrows;

import org.testng.annotations.Test;

/** What a merge refuses before it asks the library. Addresses are made up; nothing is read. */
public class AttentionStateTest {
  private static final long[] SIZES = {2, 4, 10, 64};
  private static final CudaStream STREAM = CudaStream.defaultStream(0);

  private static DeviceTensor tensor(DType type, long... sizes) {
    return DeviceTensor.wrap(0, 0x10000000L, type, TensorShape.contiguous(sizes));
  }

  private static AttentionState state(DType type, long... sizes) {
    return new AttentionState(
        tensor(type, sizes), tensor(DType.FLOAT32, sizes[0], sizes[1], sizes[2]));
  }

  private static String messageOf(org.testng.Assert.ThrowingRunnable action) {
    return expectThrows(InvalidAttentionArgumentException.class, action).getMessage();
  }

  private static String refused(AttentionState sum, AttentionState part) {
    return messageOf(() -> sum.add(part, TensorLayout.HND, STREAM));
  }

  @Test
  public void statesHaveTheirRanksAndTypes() {
    assertEquals(
        messageOf(() -> new AttentionState(null, null)), "o is null; a tensor of rank 4 is needed");
    DeviceTensor o = tensor(DType.FLOAT16, SIZES);
    assertEquals(
        messageOf(() -> new AttentionState(tensor(DType.FLOAT16, 3, 4), null)),
        "o has rank 2; rank 4 is accepted");
    assertEquals(messageOf(() -> new AttentionState(o, o)), "lse has rank 4; rank 3 is accepted");
    assertEquals(
        messageOf(() -> new AttentionState(o, tensor(DType.FLOAT16, 2, 4, 10))),
        "lse is FLOAT16; FLOAT32 is accepted");
  }

  @Test
  public void mergesHaveAnAccumulatorAndParts() {
    AttentionState sum = state(DType.FLOAT32, SIZES);
    AttentionState part = state(DType.BFLOAT16, SIZES);
    assertEquals(refused(sum, null), "part is null; one is needed");
    assertEquals(refused(part, part), "the accumulator's o is BFLOAT16; FLOAT32 is accepted");
    assertEquals(refused(sum, sum), "the part's o is FLOAT32; FLOAT16 and BFLOAT16 are accepted");
    assertEquals(
        refused(sum, new AttentionState(part.o(), null)),
        "the part's lse is null; a tensor (b, h, l) of FLOAT32 is needed");
    assertEquals(
        refused(state(DType.FLOAT32, 2, 4, 11, 64), part),
        "the accumulator's o has size 11 in dimension 2; the part's o has 10");
    assertEquals(
        messageOf(() -> sum.add(part, TensorLayout.NHD, STREAM)),
        "the accumulator's lse has size 4 in dimension 1; the part's o has 10");
    DeviceTensor turned = tensor(DType.FLOAT32, 2, 10, 4);
    AttentionState byHead = new AttentionState(sum.o(), turned.permute(0, 2, 1));
    assertEquals(
        refused(byHead, part), "the accumulator's lse has stride 4 between rows; 1 is accepted");
    assertEquals(
        refused(sum, new AttentionState(part.o(), byHead.lse())),
        "the part's lse has the shape [2, 4, 10] strides [40, 1, 4]; it must be contiguous");
    assertEquals(
        messageOf(() -> sum.addTo(sum, part, TensorLayout.HND, STREAM)),
        "the result's o is FLOAT32 and the part's BFLOAT16; they must be equal");
    assertEquals(
        messageOf(() -> sum.addTo(null, part, TensorLayout.HND, STREAM)),
        "result is null; the state that is written is needed");
  }

  @Test
  public void streamsWaitForSomething() {
    assertEquals(
        messageOf(() -> STREAM.waitFor((CudaEvent) null)),
        "event is null; a CudaEvent that was recorded in another stream is needed");
    assertEquals(
        messageOf(() -> STREAM.waitFor((CudaStream) null)),
        "stream is null; a CudaStream is needed, CudaStream.defaultStream(device) for instance");
  }
}
